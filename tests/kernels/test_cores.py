"""The number of useful threads: cores, or a container's quota of CPU time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.groups import MadeUp, write
from zvae_tiled.devices.cores import usable_cores


@pytest.mark.parametrize(("quota", "cores"), [(1_000, 1), (100_000, 1), (150_000, 2), (100_000_000, 1000)])
def test_a_quota_of_time_limits_the_threads(tmp_path: Path, quota: int, cores: int) -> None:
    there = usable_cores(tmp_path / "no groups")
    groups = MadeUp(tmp_path)
    write(groups.version_2("/a/b") / "a", cpu_max=f"{quota} 100000")
    assert usable_cores(groups.proc) == min(there, cores)


def test_the_cores_are_those_this_process_may_use() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
