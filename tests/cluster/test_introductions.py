"""How long workers are waited for that were asked what they are. Dask's client is a fake of one worker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from zvae_tiled.cluster import introductions as module
from zvae_tiled.errors import ClusterError

pytest.importorskip("distributed", reason="the extra zvae-tiled[cluster] is not installed")

AT = "tcp://a:1"


class Client:
    """A client of one worker, which does one thing after another. It is its own future of the introduction."""

    def __init__(self, *does: str) -> None:
        self.does = list(does)
        self.scheduler = SimpleNamespace(call_stack=None)
        self.key = "key"
        self.asked = False

    def submit(self, *_: Any, **__: Any) -> Client:
        self.asked = True
        return self

    @property
    def status(self) -> str:
        return "error" if self.does[0] == "fails" else "pending"

    def result(self, timeout: float) -> str:
        if self.does[0] == "answers":
            return "what it is"
        raise TimeoutError

    def workers(self) -> dict[str, Any]:
        counts = {"executing": int(self.does[0] not in ("idles", "is paused"))}
        status = "paused" if self.does[0] == "is paused" else "running"
        facts = {AT: {"status": status, "metrics": {"task_counts": counts}}}
        return {} if self.asked and self.does[0] == "is gone" else facts

    def sync(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Return the stack of the introduction, if it has begun."""
        now = self.does.pop(0)
        if now == "is silent":
            raise TimeoutError
        return {AT: {}} if now == "introduces itself" else {}


@pytest.fixture(autouse=True)
def _no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTRODUCTION", -1.0)
    monkeypatch.setattr(module, "workers_of", Client.workers)


def test_a_worker_is_waited_for_while_it_carries_out_other_work(caplog: pytest.LogCaptureFixture) -> None:
    assert dict[str, Any](module.introductions(Client("works", "works", "answers"), [])) == {AT: "what it is"}
    assert caplog.text.count(f"{AT} carries out other work: it is waited for") == 1
    assert not module.introductions(Client("works", "is gone"), [])


@pytest.mark.parametrize("last", ["introduces itself", "idles", "is silent", "is paused", "fails"])
def test_a_worker_that_takes_too_long_for_its_own_part_or_fails_is_refused(last: str) -> None:
    told = {"fails": "cannot be used: TimeoutError", "is paused": f"Dask gives worker {AT} no tasks"}
    said = told.get(last, f"{AT} does not answer")
    with pytest.raises(ClusterError, match=said):
        module.introductions(Client("works", last), [])
