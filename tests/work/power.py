"""A disk that loses its power: what was written since the last fsync may be lost, file by file, and so may names."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from random import Random

import pytest


class Cut(BaseException):
    """The power is cut: no code of the library runs on."""


class Power:
    """Remembers what a folder's disk vouches for."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        """Watch every fsync from now on."""
        self._folder = folder
        self._fsync = os.fsync
        self._contents: dict[int, bytes] = {}
        self._names: dict[Path, int] = {}
        self.left: int | None = None
        patch.setattr(os, "fsync", self.fsync)

    def fsync(self, handle: int) -> None:
        """Note what a file or a folder has now. The power may be cut before that."""
        self.tick()
        state = os.fstat(handle)
        if stat.S_ISDIR(state.st_mode):
            for folder in (self._folder, *filter(Path.is_dir, self._folder.iterdir())):
                if os.path.samestat(folder.stat(), state):
                    gone = [path for path in self._names if path.parent == folder]
                    for path in gone:
                        del self._names[path]
                    self._names |= {path: path.stat().st_ino for path in folder.iterdir() if path.is_file()}
        else:
            self._contents[state.st_ino] = os.pread(handle, state.st_size, 0)

    def tick(self) -> None:
        """Cut the power when no more steps are left."""
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Cut

    def lose(self, rng: Random) -> None:
        """Lose what no fsync vouched for: of some files all of it, of some the end, of some nothing."""
        self.left = None
        now = {path for path in self._folder.rglob("*") if path.is_file()}
        for path in now - self._names.keys():
            if rng.random() < 0.5:
                path.unlink()
        for path, inode in self._names.items():
            kept = self._contents.get(inode, b"")
            if path in now and path.stat().st_ino == inode and (there := path.read_bytes()).startswith(kept):
                kept = there[: rng.choice([len(kept), rng.randint(len(kept), len(there)), len(there)])]
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(kept)
        files = [path for path in self._folder.rglob("*") if path.is_file()]
        self._names = {path: path.stat().st_ino for path in files}
        self._contents = {path.stat().st_ino: path.read_bytes() for path in files}
