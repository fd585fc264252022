"""Files to publish, and file systems that offer fewer ways to do so."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from zvae_tiled.files import filesystem
from zvae_tiled.files.new_file import NewFile

WAYS = ("link", "system", "claim")
"""Ways to rename without replacing: a hard link, a system call, and a claim where there is neither."""


@contextmanager
def only(way: str) -> Iterator[None]:
    """A file system that offers this way, and none before it."""

    def refused(*args: Any, **options: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    with pytest.MonkeyPatch.context() as patch:
        if way != "link":
            patch.setattr(os, "link", refused)
        if way == "claim":
            patch.setattr(filesystem, "_system_rename", refused)
        yield


def finished(path: Path, text: str = "new") -> NewFile:
    file = NewFile(path)
    file.file.write(text.encode())
    file.finish()
    return file


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() if path.is_file() else "a folder" for path in folder.iterdir()}
