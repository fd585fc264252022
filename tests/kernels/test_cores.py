"""The number of useful threads: cores, or a container's quota of CPU time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.groups import MadeUp, write
from zvae_tiled.devices import cores as module
from zvae_tiled.devices.cores import usable_cores


@pytest.mark.parametrize(("quota", "cores"), [(1_000, 1), (100_000, 1), (150_000, 2), (100_000_000, 1000)])
def test_a_quota_of_time_limits_the_threads(tmp_path: Path, quota: int, cores: int) -> None:
    there = usable_cores(tmp_path / "no groups")
    groups = MadeUp(tmp_path)
    write(groups.version_2("/a/b") / "a", cpu_max=f"{quota} 100000")
    assert usable_cores(groups.proc) == min(there, cores)


def test_the_cores_are_those_this_process_may_use() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_threads_of_one_core_are_counted_once_and_cores_of_any_cluster_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clusters of ARM, whose cores have the same numbers, and a core of two threads."""
    together = {0: "0", 1: "1", 2: "2", 3: "3", 4: "4-5", 5: "4-5"}
    monkeypatch.setattr(Path, "read_text", lambda path: together[int(path.parts[-3].removeprefix("cpu"))])
    assert module._different.__wrapped__(frozenset(together)) == 5
