"""How many threads are of use: cores, or a container's quota of their time."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from zvae_tiled.kernels import cores


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "\n"}, None),
        ({"cpu.max": "100000 0\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "250000\n"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_a_quota_of_time_limits_the_threads(
    files: dict[str, str], quota: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(cores, "_GROUPS", tmp_path)
    for there in (1, 2, 64):
        monkeypatch.setattr(cores, "_cores", partial(int, there))
        assert cores.usable_cores() == (there if quota is None else min(there, quota))


def test_the_cores_are_those_this_process_may_use() -> None:
    assert 1 <= cores.usable_cores() <= (os.cpu_count() or 1)
