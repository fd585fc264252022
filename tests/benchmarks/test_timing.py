"""The script that compares predicted with measured time: its cases, and what it prints."""

from __future__ import annotations

import os
import re

import pytest

from benchmarks import timing
from tests.support.running import CONFIG
from tests.support.speeds import speeds
from zvae_tiled.planner.calibration import CACHE_VARIABLE, Calibration, cache_folder, store
from zvae_tiled.planner.quality import Stream, Tiles


def test_ten_cases_have_names_of_their_own() -> None:
    names = [str(case) for case in timing.CASES]
    assert len(set(names)) == 10
    assert max(map(len, names)) <= 36
    assert "z-image 1024x1024 bfloat16 tiles" in names


@pytest.mark.slow
def test_it_calibrates_for_itself_and_prints_a_row_for_each_case(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = os.environ.get(CACHE_VARIABLE)
    folders = []

    def calibrate(_: object) -> Calibration:
        from zvae_tiled.devices.here import device_kind, device_name, mlx_version

        folders.append(cache_folder())
        found = Calibration(
            device_kind(), device_name(), mlx_version(), 1.0, speeds(1e18, 1e18), speeds(1e18, 1e18), 1e18
        )
        store(found)
        return found

    monkeypatch.setattr(timing, "calibrate", calibrate)
    cases = (
        timing.Timed(CONFIG, 32, 16),
        timing.Timed(CONFIG, 32, 32, "float32", tight=True),
        timing.Timed(CONFIG, 32, 32, quality=Tiles(16, moments="tile")),
        timing.Timed(CONFIG, 32, 32, quality=Stream()),
        timing.Timed(CONFIG, 16, 16, encode=True),
    )
    monkeypatch.setattr(timing, "CASES", cases)
    monkeypatch.setattr(timing, "CLOSE", 0.0)
    assert timing.main([]) == 1
    told = capsys.readouterr().out
    assert os.environ.get(CACHE_VARIABLE) == before
    assert [str(folder) for folder in folders] != [before]
    for case in cases:
        row = re.search(rf"^{case} +[\d.]+ [kM]B +([\d.]+) s +([\d.]+) s +([\d.]+) +[\d.]+$", told, re.M)
        assert row is not None, told
        assert min(map(float, row.groups())) > 0
    assert "\n0 of 5 within ±0%;" in told
    monkeypatch.setattr(timing, "CLOSE", 1e9)
    assert timing.main(["--stored"]) == 0
    assert len(folders) == 1
