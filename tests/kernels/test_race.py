"""Paths of CPU kernels are timed in turn, and one that beats the chosen one is proposed. No test reads a real clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.native import PATHS, types_of
from zvae_tiled.devices.native_cpu import choice
from zvae_tiled.devices.native_cpu import race as module
from zvae_tiled.devices.native_cpu.choice import FASTEST_FIRST, MLX, native_path, native_status
from zvae_tiled.planner.proposal import Proposal

BUILT = pytest.mark.skipif(not PATHS, reason="built without the native kernels")
DTYPES = {mx.float32: "float32", mx.bfloat16: "bfloat16"}


class Stopwatch:
    """A clock that work moves on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.runs: list[str] = []

    def work(self, name: str, *seconds: float) -> Callable[[], None]:
        """Return work that takes `seconds` of its first runs, and then the last of them for ever."""

        def run() -> None:
            self.now += seconds[min(self.runs.count(name), len(seconds) - 1)]
            self.runs.append(name)

        return run


def test_the_best_time_counts_and_hopeless_work_runs_once() -> None:
    clock = Stopwatch()
    works = {"noisy": clock.work("noisy", 9e-2, 1e-2, 3e-2), "even": clock.work("even", 2e-2)}
    times = module.best_times({**works, "slow": clock.work("slow", 5.0)}, lambda: clock.now)
    assert times == pytest.approx({"noisy": 1e-2, "even": 2e-2, "slow": 5.0})
    assert (clock.runs.count("slow"), clock.runs[:4]) == (1, ["noisy", "even", "slow", "noisy"])


def test_rounds_go_on_until_the_time_is_up_and_there_are_three() -> None:
    clock = Stopwatch()
    module.best_times({name: clock.work(name, 1e-3) for name in "ab"}, lambda: clock.now)
    assert 0.9 * module.SECONDS < clock.now < 1.1 * module.SECONDS
    assert clock.runs[:4] == ["a", "b", "a", "b"], "in turn, so that noise meets all"
    slow = Stopwatch()
    module.best_times({"a": slow.work("a", 9 * module.SECONDS)}, lambda: slow.now)
    assert slow.runs == ["a"] * 3


@given(st.dictionaries(st.sampled_from(FASTEST_FIRST), st.floats(1e-4, 1e2), min_size=1), st.data())
def test_the_fastest_is_proposed_if_it_is_clearly_faster(times: dict[str, float], data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from(sorted(times)))
    found = module.proposed("float32", chosen, times)
    if found is None:
        assert times[chosen] <= module.ENOUGH * min(times.values())
    else:
        assert times[found.path] == min(times.values()) < times[chosen] / 1.1
        assert found == Proposal("float32", chosen, found.path, times[chosen] / times[found.path])


@BUILT
@pytest.mark.parametrize("kernels", ["auto", "portable", "mlx"])
def test_each_type_has_its_own_proposal_and_the_path_stays(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZVAE_KERNELS", kernels)
    before = native_status()
    chosen = {name: getattr(native_path(before, dtype == mx.bfloat16), "name", MLX) for dtype, name in DTYPES.items()}
    slow = {"float32": 1.05, "bfloat16": 2.0}
    monkeypatch.setattr(
        module, "path_times", lambda dtype: {"another": 1.0, chosen[DTYPES[dtype]]: slow[DTYPES[dtype]]}
    )
    assert module.proposals() == (Proposal("bfloat16", chosen["bfloat16"], "another", 2.0),)
    assert native_status() == before


@BUILT
@pytest.mark.parametrize("dtype", list(DTYPES), ids=str)
def test_every_path_that_computes_a_type_is_timed(dtype: mx.Dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WIDTH", 8)
    monkeypatch.setattr(module, "SECONDS", 0.0)
    for name in ("CONV", "ATTENTION"):
        monkeypatch.setattr(module, name, replace(getattr(module, name), inputs=32, outputs=32))
    times = module.path_times(dtype)
    assert set(times) == {MLX, *(path for path in PATHS if dtype in types_of(path))}
    assert min(times.values()) > 0


def test_without_native_kernels_nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "open_library", lambda: "it was not built")
    monkeypatch.setattr(module, "path_times", lambda dtype: pytest.fail("there is no other path"))
    assert module.proposals() == ()
