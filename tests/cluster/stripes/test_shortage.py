"""Memory that runs out on a worker is told as that, and a striped picture is not begun again with the same plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cluster.stripes.test_bytes import Small, planned
from tests.support.striped import Here
from zvae_tiled.cluster.share import Share
from zvae_tiled.cluster.stripes.job import StripedDecode
from zvae_tiled.cluster.stripes.worker import limited
from zvae_tiled.cluster.watch import lost
from zvae_tiled.errors import ClusterError, OutOfMemoryError
from zvae_tiled.inputs.latents import read_latents
from zvae_tiled.jobs.job import Terms


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[malloc_or_wait] Unable to allocate 8 bytes")])
def test_memory_that_runs_out_in_a_task_is_no_fault_of_dask(error: Exception) -> None:
    told = lost(error)
    assert isinstance(told, OutOfMemoryError)
    assert "name a smaller budget" in told.advice
    assert isinstance(lost(ValueError("no memory")), ClusterError)


def test_a_worker_whose_memory_runs_out_in_a_sweep_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    membership = pytest.importorskip("zvae_tiled.cluster.membership", exc_type=ImportError)
    here = SimpleNamespace(get_worker=lambda: SimpleNamespace(address="tcp://a:1"))
    monkeypatch.setattr("zvae_tiled.cluster.stripes.worker.distributed", lambda: here)
    monkeypatch.setitem(membership.MEMBERS, "run", membership.Member(Share(1, 1 << 30, ""), ()))
    plan = planned(Small(Random(2), "float32", "decode"), 2).plan

    def full() -> None:
        raise MemoryError

    with pytest.raises(OutOfMemoryError, match="memory ran out while tcp://a:1 computed a stripe") as ended:
        limited("run", plan, full)
    assert "on that machine" in ended.value.advice


class Full(Here):
    """Workers whose memory runs out at the first task."""

    def __init__(self) -> None:
        self.asked = 0

    def do(self, stripe: int, name: str, task: Callable[..., Any], *options: Any) -> Any:
        """Take a task."""

    def get(self, handles: Sequence[Any]) -> list[Any]:
        self.asked += 1
        raise OutOfMemoryError("memory ran out on a worker")


def test_a_striped_picture_is_not_begun_again_with_the_same_plan(tmp_path: Path) -> None:
    case, hands = Small(Random(2), "float32", "decode"), Full()
    job = StripedDecode(case.vae, read_latents(case.given, case.config), True, Terms())
    options: Any = planned(case, 2), hands, None
    job.stripe(*options)
    with pytest.raises(OutOfMemoryError, match="on a worker"):
        job.write(str(tmp_path / "striped.npy"))
    assert hands.asked == 1
