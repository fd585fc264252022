"""Small file systems of their own, where root may mount them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path


@contextmanager
def mounted(folder: Path, *words: str | Path) -> Iterator[None]:
    """Mount something on a folder for a while: the words are those of `mount`, without the folder."""
    subprocess.run(["mount", *map(str, words), folder], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@cache
def may_mount() -> bool:
    """Return whether this process may mount a file system here."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as name:
        try:
            with mounted(Path(name), "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@contextmanager
def with_quota(folder: Path, size: int) -> Iterator[None]:
    """Mount a file system that has room, but whose quota is so many bytes."""
    with tempfile.NamedTemporaryFile() as image:
        image.truncate(160 << 20)
        subprocess.run(["mkfs.btrfs", "-q", image.name], check=True, capture_output=True)
        with mounted(folder, "-o", "loop", image.name):
            for words in ("quota enable", f"qgroup limit {size} 0/5"):
                subprocess.run(["btrfs", *words.split(), folder], check=True, capture_output=True)
            yield


@cache
def may_have_quota() -> bool:
    """Return whether a file system with quotas can be mounted here."""
    if not may_mount() or shutil.which("mkfs.btrfs") is None:
        return False
    with tempfile.TemporaryDirectory() as name:
        try:
            with with_quota(Path(name), 1 << 20):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False
