"""Calibrating this machine: measured, stored, used, and never below what was measured."""

from __future__ import annotations

import time
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import psutil
import pytest

from tests.kernels.cases import NORMED
from tests.kernels.native import PATHS
from tests.support.models import narrow
from tests.support.speeds import speeds
from zvae_tiled.chain import Step
from zvae_tiled.devices import bench, heap, load
from zvae_tiled.devices import calibrate as module
from zvae_tiled.devices.here import device_kind, kernels_for, stored_calibration, this_device, working_set_limit
from zvae_tiled.devices.mlx_cpu.kernels import RowKernels
from zvae_tiled.devices.mlx_cpu.memory import CPU, CpuWorkspace
from zvae_tiled.devices.mlx_gpu.kernels import StripKernels
from zvae_tiled.devices.mlx_gpu.memory import CUDA, METAL, MetalWorkspace
from zvae_tiled.devices.native_cpu import race
from zvae_tiled.devices.native_cpu.choice import native_status
from zvae_tiled.devices.operations import distinct_steps, no_cache
from zvae_tiled.devices.table import DEVICE_KINDS
from zvae_tiled.families import config_of
from zvae_tiled.planner.calibration import Calibration, MarginWorkspace, apply, store
from zvae_tiled.planner.proposal import Proposal

CORES = psutil.cpu_count() or 1


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZVAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    config = narrow("z-image", (32, 32, 64, 64), 8)
    monkeypatch.setattr(module, "config_of", lambda _: config)
    monkeypatch.setattr(module, "SIZES", dict.fromkeys(DEVICE_KINDS, ((2, 24), (3, 40))))
    monkeypatch.setattr(module, "TIMED", dict.fromkeys(DEVICE_KINDS, (3, 40)))
    monkeypatch.setattr(module, "ROUNDS", 1)
    monkeypatch.setattr(bench, "CACHES", 1 << 10)
    monkeypatch.setattr(module, "DISK_BYTES", 1 << 20)
    monkeypatch.setattr(race, "path_times", lambda _: {"mlx": 2.0, **dict.fromkeys(native_status().runs, 1.0)})


@pytest.mark.usefixtures("small")
def test_calibrating_this_machine(folder: Path) -> None:
    assert stored_calibration()[0] is None
    assert "not calibrated" in stored_calibration()[1]
    limit = mx.set_cache_limit(12345)
    lines: list[str] = []
    found = module.calibrate(lines.append)
    assert mx.set_cache_limit(limit) == 12345
    assert (found.kind, found.margin >= 1) == (device_kind(), True)
    assert min(*astuple(found.bfloat16), *astuple(found.float32), found.disk) > 1e5
    assert [line for line in lines if not line.startswith("other programs")][-1] == "the disk"
    assert any("attention" in line for line in lines)
    assert stored_calibration()[0] == found
    assert [path.suffix for path in folder.iterdir()] == [".json"]
    device = this_device()
    assert (device.speeds, device.margin) == (found.bfloat16, found.margin)
    assert this_device(mx.float32).speeds == found.float32
    assert this_device(calibrated=False).speeds != found.bfloat16


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_a_higher_speed_is_kept_until_one_says_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    first = module.calibrate()
    fast = replace(first.bfloat16, attention=9e17)
    store(replace(first, bfloat16=fast, disk=1.0, margin=50.0))
    lines: list[str] = []
    kept = module.calibrate(lines.append)
    assert kept.bfloat16.attention == 9e17
    assert kept.margin == pytest.approx(first.margin, rel=0.5)
    assert kept.disk > 1
    assert stored_calibration()[0] == kept
    (line,) = [line for line in lines if line.startswith("kept bfloat16: ")]
    assert "9e+08 GFLOP/s in attention" in line.partition(": this run measured bfloat16: ")[0]
    assert not [line for line in lines if line.startswith("kept disk")]
    replaced = module.calibrate(replace=True)
    assert replaced.bfloat16.attention < 9e17
    assert stored_calibration()[0] == replaced


@pytest.mark.usefixtures("small")
def test_an_operation_is_timed_several_times_and_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = iter([0.04, 0.01, 0.03, 9.0])
    clock = [0.0]

    def run() -> None:
        clock[0] += next(lengths)

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    assert bench.usual_seconds(run) == pytest.approx(0.03)
    assert list(lengths) == [9.0], "three runs"
    lengths = iter([bench.ENOUGH, 9.0])
    assert bench.usual_seconds(run) == pytest.approx(bench.ENOUGH)
    assert list(lengths) == [9.0], "a long run is not repeated"


@pytest.mark.usefixtures("small")
def test_other_programs_that_compute_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(load.OtherLoad, "cores", lambda _: 0.9 * load.BUSY * CORES)
    assert load.OtherLoad().sentence() == ""
    monkeypatch.setattr(load.OtherLoad, "cores", lambda _: 1.5 * load.BUSY * CORES)
    module.calibrate(lines.append)
    (line,) = [line for line in lines if "other programs" in line]
    assert f"of {CORES} cores meanwhile: measure again when they are idle" in line


def test_the_load_of_others_is_that_of_all_without_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    used, own, clock = iter([100.0, 115.0]), iter([1.0, 6.0]), iter([50.0, 55.0])
    monkeypatch.setattr(load, "_used", lambda: next(used))
    monkeypatch.setattr(load, "_own", lambda: next(own))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert load.OtherLoad().cores() == 2.0


def test_what_this_process_computes_is_counted_as_its_own() -> None:
    """Counted in all its threads: the core-seconds of the system grow at least as much, but for a tick."""
    before = load._used(), load._own()
    while load._own() - before[1] < 0.1:
        sum(range(10_000))
    assert load._used() - before[0] >= load._own() - before[1] - 0.05


@pytest.mark.skipif(mx.default_device().type != mx.cpu, reason="the model that is right here is the CPU's")
@pytest.mark.usefixtures("small")
def test_the_cpu_s_model_needs_no_margin() -> None:
    assert module.calibrate().margin < 1.01


class Optimist:
    """A Workspace that predicts no bytes but the results."""

    def __init__(self, inner: CpuWorkspace) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "prepared" or not callable(found) or name == "compute_size":
            return found
        return lambda *shape: 0


@pytest.mark.slow
@pytest.mark.skipif(mx.default_device().type != mx.cpu, reason="written for the CPU's model")
@pytest.mark.usefixtures("small")
def test_the_plan_is_never_below_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    liar = replace(CPU, workspace=Optimist(CpuWorkspace()))
    monkeypatch.setattr(module, "this_device", lambda *_, **__: liar)
    monkeypatch.setattr(bench, "SLACK", 0)
    step = replace(NORMED, inputs=64, outputs=64)
    peaks = bench.Peaks(liar)
    with no_cache():
        peaks.measure(step, 2, 40, mx.float32)
    truth = 2 * 40 * 64 * 4 + CpuWorkspace().conv(step, 2, 40, 4)
    assert peaks.worst > 2
    corrected = MarginWorkspace(liar.workspace, peaks.worst)
    assert 2 * 40 * 64 * 4 + corrected.conv(step, 2, 40, 4) >= 0.9 * truth
    assert module.calibrate().margin > 2


def test_operations_are_timed_as_in_a_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    """There freed pages are kept. Otherwise each run would be timed with what the system takes to hand them out."""
    kept: list[bool] = []
    monkeypatch.setattr(bench.Times, "measure", lambda *_: kept.append(heap.may_hoard()))
    monkeypatch.setattr(bench.Times, "speeds", lambda _: speeds())
    module.measured_speeds(lambda _: None)
    assert set(kept) == {heap._trim is not None}
    assert not heap.may_hoard()


def test_each_kind_of_step_is_measured_once() -> None:
    def shape(step: Step) -> tuple[Any, ...]:
        """All that a Step's time depends on."""
        reads = (bool(step.norm), step.activation, step.upsample, step.stride)
        adds = (bool(step.closes), step.skip, bool(step.shortcut))
        return step.kind, step.inputs, step.outputs, step.kernel, *adds, *reads

    for config in (config_of("z-image"), config_of("sd1")):
        chain = config.chain("decode")
        measured = [shape(step) for step in distinct_steps(chain)]
        assert len(set(measured)) == len(measured) < len(chain.steps)
        assert set(measured) == {shape(step) for step in chain.steps}


@pytest.mark.skipif(mx.default_device().type != mx.cpu, reason="only a CPU has paths to choose from")
@pytest.mark.skipif(not PATHS, reason="built without the native kernels")
@pytest.mark.usefixtures("small")
def test_a_faster_path_is_proposed_and_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZVAE_KERNELS", "portable")
    monkeypatch.setattr(race, "path_times", lambda _: {"portable": 1.3, "mlx": 1.0})
    found = module.calibrate()
    assert found.proposals == tuple(Proposal(dtype, "portable", "mlx", 1.3) for dtype in ("bfloat16", "float32"))
    assert (stored_calibration()[0], this_device().name) == (found, "cpu/portable")


def test_kernels_follow_the_device() -> None:
    assert isinstance(kernels_for(CPU, mx.float32), RowKernels)
    margin = Calibration("metal", "x", "0", 1.1, speeds(), speeds(), 1e9)
    for winograd in (True, False):
        device = apply(replace(METAL, workspace=MetalWorkspace(winograd=winograd)), margin)
        kernels = kernels_for(device, mx.bfloat16)
        assert isinstance(kernels, StripKernels)
        assert kernels.winograd == winograd


@pytest.mark.skipif(mx.default_device().type != mx.cpu, reason="this device is none")
@pytest.mark.usefixtures("mlx_kernels")
def test_this_device_is_the_cpu() -> None:
    assert (this_device(calibrated=False), working_set_limit()) == (CPU, None)


@pytest.mark.parametrize(
    ("metal", "info", "kind", "limit", "largest"),
    [
        (True, {"device_name": "M", "max_buffer_length": 9, "max_recommended_working_set_size": 8}, "metal", 8, 9),
        (False, {"device_name": "N", "total_memory": 7, "free_memory": 5}, "cuda", 7, CUDA.max_buffer),
    ],
)
def test_gpus_are_told_apart(
    metal: bool, info: dict[str, Any], kind: str, limit: int, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu, 0))
    monkeypatch.setattr(mx, "device_info", lambda _: info)
    monkeypatch.setattr(mx.metal, "is_available", lambda: metal)
    for held in ("get_active_memory", "get_cache_memory"):
        monkeypatch.setattr(mx, held, lambda: 1)
    device = this_device()
    assert (device.name, device.max_buffer, working_set_limit()) == (kind, largest, limit)
    assert isinstance(kernels_for(device, mx.bfloat16), StripKernels)
