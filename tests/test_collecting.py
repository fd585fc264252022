"""Importing tests mounts nothing and makes no network: a collection that was ended left it behind."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.campaign.mounts import may_have_quota, may_mount

TESTS = Path(__file__).parent
MAKERS = ("tests.campaign.mounts", "tests.cluster.hosts")
"""Modules that mount file systems or make hosts."""

USERS = [
    path
    for path in sorted(TESTS.rglob("test_*.py"))
    if path != Path(__file__) and any(f"from {maker} import" in path.read_text() for maker in MAKERS)
]


@pytest.mark.parametrize("path", USERS, ids=lambda path: path.stem)
def test_what_is_possible_is_asked_by_the_test_and_not_by_its_import(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_mount.cache_clear()
    may_have_quota.cache_clear()
    monkeypatch.setattr(subprocess, "Popen", Mock(side_effect=AssertionError("a program is started")))
    runpy.run_path(str(path), run_name="imported")
