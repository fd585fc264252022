"""`zvae calibrate`: what the library measures, kept and said; the doctor says what came of it."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from tests.support.running import run
from tests.support.speeds import speeds
from zvae_tiled.devices import calibrate as calibrating
from zvae_tiled.devices.native_cpu import race
from zvae_tiled.jobs import limits
from zvae_tiled.planner import calibration
from zvae_tiled.planner.proposal import Proposal


def test_calibrating_is_what_the_library_does(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(calibration.CACHE_VARIABLE, str(place / "cache"))
    monkeypatch.setattr(calibrating, "distinct_steps", lambda chain: [chain.steps[-1]])
    monkeypatch.setitem(calibrating.SIZES, "cpu", ((1, 8),))
    monkeypatch.setattr(calibrating, "DISK_BYTES", 1 << 20)
    monkeypatch.setattr(race, "proposals", lambda: (Proposal("bfloat16", "avx512bf16", "avx512", 1.32),))
    told = run("calibrate")
    assert "GFLOP/s in convolutions" in told.stdout
    assert "the disk" in told.stderr
    assert len(list((place / "cache").iterdir())) == 1
    healthy = run("doctor").stdout
    assert "calibration: zvae calibrate" not in healthy
    faster = "path avx512 was 1.3 times as fast as avx512bf16 here: ZVAE_KERNELS=avx512 takes it (other bits)"
    assert f"\nbfloat16: {faster}" in told.stdout
    assert f"  kernels: bfloat16: {faster}" in healthy.partition("To improve:")[2]
    assert re.search(r"^calibrated   [\d.]+ s ago$", healthy, re.M)
    (file,) = (place / "cache").iterdir()
    os.utime(file, (time.time() - 4e5,) * 2)
    assert "\ncalibrated   4.6 days ago\n" in run("doctor").stdout


def test_a_higher_speed_is_replaced_only_if_one_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[bool] = []

    def calibrated(_: object, replace: bool) -> calibration.Calibration:
        said.append(replace)
        return stored

    stored = calibration.Calibration("cpu", "A chip", "0", 1.0, speeds(), speeds(), 1e9)
    monkeypatch.setattr(limits, "calibrate", calibrated)
    run("calibrate")
    assert "bfloat16: 100 GFLOP/s in convolutions, " in run("calibrate", "--replace").stdout
    assert said == [False, True]
