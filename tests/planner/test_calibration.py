"""Calibrations are stored whole, read back strictly, and make no plan smaller."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.plans import exact_plan
from tests.support.speeds import speeds
from zvae_tiled.api import plan, read_plan
from zvae_tiled.chain import DOUBLE, Norm, Step
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.mlx_cpu.memory import CPU, CpuWorkspace
from zvae_tiled.devices.mlx_gpu.memory import CUDA, METAL, MetalWorkspace
from zvae_tiled.devices.table import likely_device
from zvae_tiled.devices.workspace import Workspace
from zvae_tiled.errors import BudgetError, OutputError
from zvae_tiled.families import config_of
from zvae_tiled.planner.calibration import (
    Calibration,
    MarginWorkspace,
    apply,
    cache_folder,
    calibration_file,
    load,
    newest,
    store,
)
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.cost import Costs, Size
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.proposal import Proposal

PROPOSAL: dict[str, Any] = {"dtype": "bfloat16", "chosen": "avx512bf16", "path": "avx512", "ratio": 1.3}
FOUND = Calibration("cpu", "A chip, BLAS none", "0.32.4", 1.25, speeds(), speeds(2e10), 5e8, (Proposal(**PROPOSAL),))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZVAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_pipe_among_the_calibrations_is_not_waited_for(folder: Path) -> None:
    file = store(FOUND)
    os.mkfifo(folder / "calibration-cpu-a-pipe.json")
    os.utime(file, (0, 0))  # the pipe is newer, so it is read first
    assert newest("cpu", FOUND.mlx) == FOUND


def test_round_trip() -> None:
    file = store(FOUND)
    assert load("cpu", FOUND.device, FOUND.mlx) == (FOUND, f"calibrated: {file}")
    store(replace(FOUND, disk=2e9))
    loaded, _ = load("cpu", FOUND.device, FOUND.mlx)
    assert loaded is not None
    assert loaded.disk == 2e9
    assert load("cpu", FOUND.device, "0.33.0")[0] is None
    assert load("cuda", FOUND.device, FOUND.mlx)[0] is None


def test_a_file_from_before_paths_were_timed_has_no_proposals() -> None:
    text = written(lambda v: v.pop("proposals") and v)
    calibration_file(FOUND.kind, FOUND.device, FOUND.mlx).write_text(text)
    assert load(FOUND.kind, FOUND.device, FOUND.mlx)[0] == replace(FOUND, proposals=())


def test_a_link_to_nothing_hides_no_calibration(folder: Path) -> None:
    store(FOUND)
    (folder / "calibration-gone.json").symlink_to(folder / "nothing")
    assert newest("cpu", FOUND.mlx) == FOUND


@pytest.mark.usefixtures("mlx_kernels")
def test_a_plan_made_without_mlx_uses_the_newest(folder: Path) -> None:
    def planned(**options: Any) -> Plan:
        return plan("z-image", 1024, 1024, "4GB", **options)

    bare, mlx = planned(), metadata.version("mlx")
    kind = bare.case.kind
    assert newest(kind, mlx) is None
    old, new = (
        replace(FOUND, kind=kind, mlx=mlx),
        replace(FOUND, kind=kind, mlx=mlx, device="Another", bfloat16=speeds(1e12)),
    )
    os.utime(store(new), (2e9, 2e9))
    os.utime(store(old), (1e9, 1e9))
    os.utime(store(replace(new, mlx="0.1")), (3e9, 3e9))
    (folder / "calibration-broken.json").write_text("{")
    assert newest(kind, mlx) == new
    assert planned().predicted_seconds < bare.predicted_seconds
    assert planned().predicted_peak > bare.predicted_peak
    assert planned(device=kind) == bare
    # A plan that is read gets the costs of this device as it is calibrated; those in the file are ignored.
    assert read_plan(planned().to_json()) == read_plan(bare.to_json()) == planned()
    metal = planned(device="metal")
    assert read_plan(metal.to_json()) == metal or likely_device() == "metal"


def test_float32_has_its_own_speeds() -> None:
    for device, dtype, speed in (
        (CPU, "bfloat16", 1e11),
        (CPU, "float32", 2e10),
        (CPU, "float16", 2e10),
        (METAL, "float16", 1e11),
        (METAL, "float32", 2e10),
    ):
        assert apply(device, replace(FOUND, kind=device.kind), dtype).speeds == speeds(speed)


def typed(name: str, **changed: object) -> dict[str, Any]:
    return {name: asdict(speeds()) | changed}


def written(change: Callable[[dict[str, Any]], object]) -> str:
    values = json.loads(store(FOUND).read_text())
    return json.dumps(change(values) or values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.pop("margin"), "not a calibration of format"),
        (lambda v: {k: w for k, w in v.items() if k != "margin"}, "TypeError"),
        (lambda v: v | {"more": 1}, "TypeError"),
        (lambda v: v | {"format": 1}, "not a calibration of format"),
        (lambda v: v | {"margin": 0.99}, "margin is not between 1 and 100"),
        (lambda v: v | {"margin": 1e9}, "margin is not between"),
        (lambda v: v | {"margin": True}, "margin is not a number"),
        (lambda v: v | {"margin": "1.2"}, "margin is not a number"),
        (lambda v: v | typed("float32", convolutions=float("nan")), "convolutions is not between"),
        (lambda v: v | {"disk": float("inf")}, "disk is not between"),
        (lambda v: v | typed("bfloat16", maps=0), "maps is not between"),
        (lambda v: v | typed("bfloat16", attention=0.5), "attention is not between"),
        (lambda v: v | typed("float32", moments="fast"), "moments is not a number"),
        (lambda v: v | typed("float32", weights=10**400), "weights is not between"),
        (lambda v: v | typed("float32", more=1), "TypeError"),
        (lambda v: v | {"float32": None}, "TypeError"),
        (lambda v: v | {"float32": [1, 2, 3, 4, 5]}, "TypeError"),
        (lambda v: v.pop("bfloat16") and v, "KeyError"),
        (lambda v: v | {"kind": "tpu"}, "kind is 'tpu'"),
        (lambda v: v | {"kind": ["cpu"]}, "kind is ['cpu']"),
        (lambda v: v | {"device": 7}, "device is not a string"),
        (lambda v: v | {"device": "another chip"}, "is for another chip"),
        (lambda v: v | {"mlx": "0.1"}, "MLX 0.1"),
        (lambda v: [v], "not a calibration of format"),
        (lambda v: v | {"proposals": None}, "proposals is not a list"),
        (lambda v: v | {"proposals": PROPOSAL}, "proposals is not a list"),
        (lambda v: v | {"proposals": ["avx2"]}, "a proposal has a dtype"),
        (lambda v: v | {"proposals": [PROPOSAL | {"more": 1}]}, "a proposal has a dtype"),
        (lambda v: v | {"proposals": [{"path": "avx2"}]}, "a proposal has a dtype"),
        (lambda v: v | {"proposals": [PROPOSAL | {"dtype": "int8"}]}, "dtype is 'int8'"),
        (lambda v: v | {"proposals": [PROPOSAL | {"dtype": []}]}, "TypeError"),
        (lambda v: v | {"proposals": [PROPOSAL | {"path": "avx2; rm -r /"}]}, "is not the name of a path"),
        (lambda v: v | {"proposals": [PROPOSAL | {"chosen": "a" * 21}]}, "is not the name of a path"),
        (lambda v: v | {"proposals": [PROPOSAL | {"chosen": 7}]}, "is not the name of a path"),
        (lambda v: v | {"proposals": [PROPOSAL | {"ratio": 1}]}, "ratio is not a number above 1"),
        (lambda v: v | {"proposals": [PROPOSAL | {"ratio": True}]}, "ratio is not a number above 1"),
        (lambda v: v | {"proposals": [PROPOSAL | {"ratio": "2"}]}, "ratio is not a number above 1"),
        (lambda v: v | {"proposals": [PROPOSAL | {"ratio": float("nan")}]}, "ratio is not a number above 1"),
        (lambda v: v | {"proposals": [PROPOSAL | {"ratio": float("inf")}]}, "ratio is not a number above 1"),
    ],
)
def test_a_foreign_file_is_ignored_with_a_reason(change: Callable[[dict[str, Any]], object], said: str) -> None:
    text = written(change)
    calibration_file(FOUND.kind, FOUND.device, FOUND.mlx).write_text(text)
    found, reason = load(FOUND.kind, FOUND.device, FOUND.mlx)
    assert found is None
    assert said in reason


@given(st.binary(max_size=300))
def test_a_corrupt_file_is_ignored_with_a_reason(data: bytes) -> None:
    store(FOUND).write_bytes(data)
    found, reason = load(FOUND.kind, FOUND.device, FOUND.mlx)
    assert found is None
    assert "ignored" in reason


@pytest.mark.parametrize("data", [b"[" * 60_000, b'{"format": 1' + b" " * 70_000 + b"}", b"\xff\xfe", b""])
def test_hostile_files_are_ignored_too(data: bytes) -> None:
    store(FOUND).write_bytes(data)
    assert load(FOUND.kind, FOUND.device, FOUND.mlx)[0] is None


def test_half_written_files_are_cut_off_nowhere(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    store(FOUND)
    for failing in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, failing, _no_space)
            with pytest.raises(OutputError, match="No space left"):
                store(replace(FOUND, disk=2e9))
        assert len(list(folder.iterdir())) == 1
    assert load(FOUND.kind, FOUND.device, FOUND.mlx)[0] == FOUND


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_folder_that_is_none_is_said(folder: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(OutputError, match="ZVAE_CACHE"):
        store(FOUND)
    assert load(FOUND.kind, FOUND.device, FOUND.mlx)[0] is None


def test_where_it_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ZVAE_CACHE")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "zvae_tiled"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "zvae_tiled"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "zvae_tiled"


def planned(device: Device, budget: int = 1 << 50) -> Plan:
    return exact_plan(Case(config_of("z-image"), 64, 48, device.name), budget, device)


@pytest.mark.parametrize("device", [CPU, METAL, CUDA], ids=lambda device: device.name)
@pytest.mark.sample(3)
def test_applied_it_never_plans_with_less(device: Device) -> None:
    measured = Calibration(device.kind, "x", "0", 1.3, device.speeds, device.speeds, device.disk)
    grown = apply(device, measured)
    assert (grown.margin, isinstance(grown.workspace, MarginWorkspace)) == (1.3, True)
    assert planned(grown).predicted_peak > planned(device).predicted_peak
    needed = []
    for each in (device, grown):
        with pytest.raises(BudgetError) as refused:
            planned(each, 1 << 20)
        needed.append(refused.value.needed)
    assert needed[1] > needed[0]
    assert apply(grown, replace(measured, margin=1.0)).workspace == device.workspace
    again = apply(grown, replace(measured, margin=1.5))
    assert isinstance(again.workspace, MarginWorkspace)
    assert again.workspace.inner == device.workspace
    whole = config_of("z-image").chain("decode")
    for cut in range(len(whole.steps)):
        before, after = (Costs(whole, Size(12, 40, 2), each).step(cut, 6, 6) for each in (device, grown))
        assert after.working >= before.working
        assert after.preparing >= before.preparing


def test_a_margin_is_on_results_too() -> None:
    """Calibrating measures all that an operation takes, its result included."""
    inner, pixels = MetalWorkspace(), 6 * 100
    space = MarginWorkspace(inner, 1.5)
    step = Step("conv", "conv", 128, 3, norm=Norm("norm", 32))
    for before, after, result in (
        (inner.conv(step, 6, 100, 2), space.conv(step, 6, 100, 2), pixels * 3 * 2),
        (inner.activate(step, 6, 100, 2), space.activate(step, 6, 100, 2), pixels * 128 * 2),
        (inner.keys(step, 6, 100, 2), space.keys(step, 6, 100, 2), pixels * 2 * 128 * 2),
        (inner.attend(step, 6, 100, 2), space.attend(step, 6, 100, 2), pixels * 128 * 2),
        (inner.moments(128, 6, 100, 2), space.moments(128, 6, 100, 2), 0),
    ):
        assert 0 <= after + result - 1.5 * (before + result) < 1


@pytest.mark.parametrize(
    "inner", [MetalWorkspace(), CpuWorkspace()], ids=["doubled rows", "folded into the convolution"]
)
def test_a_margin_is_on_doubled_maps_as_they_are_held(inner: Workspace) -> None:
    """Four pixels for one: in the activated rows, or where doubling is folded, in the result alone."""
    space, step = MarginWorkspace(inner, 1.5), Step("up", "conv", 128, 3, resample=DOUBLE)
    doubled = (6, 100) if inner.folds else (12, 200)
    activated = 6 * 100 * 128 * 4 if inner.folds else 12 * 200 * 128 * 2  # float32 on the CPU
    for before, after, result in (
        (inner.activate(step, 6, 100, 2), space.activate(step, 6, 100, 2), activated),
        (inner.conv(step, *doubled, 2), space.conv(step, *doubled, 2), 12 * 200 * 3 * 2),
    ):
        assert 0 <= after + result - 1.5 * (before + result) < 1


def test_another_kind_of_device_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be used for metal"):
        apply(METAL, FOUND)
