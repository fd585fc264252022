"""The memory that a worker reports of its tasks: the most of any, with its weights and all that it holds."""

from __future__ import annotations

from types import SimpleNamespace

import mlx.core as mx
import pytest

from tests.engine.test_grain import CONFIG
from tests.support.models import random_vae
from zvae_tiled import Plan
from zvae_tiled.cluster.share import Share
from zvae_tiled.cluster.stripes import worker
from zvae_tiled.cluster.stripes.machine import this_machine
from zvae_tiled.devices.counted import active_memory
from zvae_tiled.order import Order

pytest.importorskip("distributed", reason="the extra zvae-tiled[cluster] is not installed")

ORDER = Order("decode", "vae", "a.npy", "a.png", dtype="float32")


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A plan for this process, which is a member of two runs."""
    from zvae_tiled.cluster.membership import MEMBERS, Member

    vae = random_vae(CONFIG)
    monkeypatch.setattr(worker, "held", lambda _: vae)
    here = SimpleNamespace(get_worker=lambda: SimpleNamespace(address="tcp://a:1"))
    monkeypatch.setattr(worker, "distributed", lambda: here)
    for run in ("run", "other"):
        monkeypatch.setitem(MEMBERS, run, Member(Share(1, 1 << 40, ""), ()))
    return worker.planned(ORDER, 64, 64, 1, 1, 1 << 40, 1, [this_machine()]).plan


def test_the_peak_is_that_of_the_largest_task_with_what_the_worker_holds(plan: Plan) -> None:
    held = mx.zeros(1_000_000)
    mx.eval(held)

    def task(numbers: int) -> int:
        mx.eval(mx.zeros(numbers))
        return numbers

    mx.eval(mx.zeros(2_000_000))  # of no task
    most = 0
    for numbers in (300_000, 100_000, 500_000, 1):
        before = active_memory()
        assert before >= held.nbytes + plan.weights
        assert worker.limited("run", plan, task, numbers) == numbers
        most = max(most, before + 4 * numbers)
        assert most <= worker.peak_of("run") <= most + 100_000
    assert worker.peak_of("other") == 0


def test_the_peak_of_a_task_that_failed_counts(plan: Plan) -> None:
    def task() -> None:
        mx.eval(mx.zeros(500_000))
        raise ValueError("lost")

    with pytest.raises(ValueError, match="lost"):
        worker.limited("run", plan, task)
    assert worker.peak_of("run") >= plan.weights + 2_000_000
