"""Two pictures are not computed in stripes at once: their workers would need the memory of both."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cluster.stripes.test_losses import ORDER, client, place, same_bytes
from zvae_tiled.cluster import run_striped
from zvae_tiled.cluster.stripes import turn as module
from zvae_tiled.cluster.stripes.turn import turn
from zvae_tiled.errors import ClusterError, InputError
from zvae_tiled.report.progress import Progress

__all__ = ["client", "place"]


class Client:
    """A client of Dask's, and its scheduler's lock, which answers so in turn."""

    def __init__(self, *answers: bool) -> None:
        self.did: list[str] = []
        self.scheduler = None
        self.loop = SimpleNamespace(add_callback=lambda call: call())
        self.refresh_callback = SimpleNamespace(stop=lambda: self.did.append("stops"))
        self._answers = list(answers)

    def sync(self, call: Callable[..., Any], *, callback_timeout: float, **options: Any) -> Any:
        return call(**options)

    def acquire(self, timeout: float) -> bool:
        if not self._answers:
            raise OSError("no scheduler")
        return self._answers.pop(0)

    def release(self) -> None:
        self.did.append("releases")
        raise OSError("no scheduler")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Client]:
    def made(*answers: bool) -> Client:
        client = Client(*answers)
        monkeypatch.setattr(module, "distributed", lambda: SimpleNamespace(Lock=lambda *_, **__: client))
        return client

    return made


def test_another_picture_is_waited_for_and_said_once(
    fake: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    client = fake(False, False, True)
    with turn(client):
        client.did.append("works")
    assert client.did == ["works", "releases", "stops"]
    assert caplog.text.count("is computed in stripes on this cluster: it is waited for") == 1
    with turn(fake(True)):
        pass
    assert caplog.text.count("it is waited for") == 1


def test_a_scheduler_that_is_gone_is_told_and_no_turn_is_kept(fake: Callable[..., Client]) -> None:
    client = fake(False)
    with pytest.raises(ClusterError, match="does not answer: OSError: no scheduler"), turn(client):
        pass
    assert client.did == ["stops"]


def test_a_picture_begun_by_a_listener_of_another_is_refused(fake: Callable[..., Client]) -> None:
    """Its turn would never come."""
    with turn(fake(True)), pytest.raises(InputError, match="in this thread"), turn(fake(True)):
        pass
    with turn(fake(True)):
        pass


@pytest.mark.slow
@pytest.mark.usefixtures("place")
def test_two_pictures_at_once_are_computed_one_after_the_other(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    begun, did = threading.Event(), list[str]()

    def other() -> None:
        begun.wait()
        run_striped(ORDER, client, progress=lambda _: did.append("other"))

    def tell(_: Progress) -> None:
        did.append("one")
        begun.set()
        ends = time.monotonic() + 60
        while "it is waited for" not in caplog.text and time.monotonic() < ends:
            time.sleep(0.1)

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    try:
        run_striped(ORDER, client, progress=tell)
    finally:
        begun.set()
    thread.join()
    assert did == sorted(did)
    assert set(did) == {"one", "other"}
    assert "it is waited for" in caplog.text
    assert same_bytes()
