"""A disk that loses its power. What was done since the last fsync may be lost, each file and each name for itself."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest


class Cut(BaseException):
    """The power is cut. The library's handlers still run, so `Power.lose` undoes what they do."""


@dataclass
class Disk:
    """What a disk holds: the numbers of what has a name in a folder, and the bytes of files, by their number."""

    names: dict[int, dict[str, int]] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def seen(cls, folder: Path) -> Disk:
        """What a folder holds now."""
        disk = cls({folder.stat().st_ino: names_in(folder)})
        for path in sorted(folder.rglob("*")):
            number = path.stat().st_ino
            if path.is_dir():
                disk.names[number] = names_in(path)
            else:
                disk.contents[number] = path.read_bytes()
        return disk

    def write(self, number: int, folder: Path) -> None:
        """Fill an empty folder with what this disk has in the one of this number. A file may have several names."""
        self._write(number, folder, {})

    def _write(self, number: int, folder: Path, written: dict[int, Path]) -> None:
        for name, each in sorted(self.names[number].items()):
            path = folder / name
            if each in self.names:
                path.mkdir()
                self._write(each, path, written)
            elif each in written:
                os.link(written[each], path)
            else:
                path.write_bytes(self.contents.get(each, b""))
                written[each] = path


class Power:
    """Remembers what a folder's disk vouches for."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        """Watch every fsync from now on. All that is there already is on the disk."""
        self._folder = folder
        self._fsync = os.fsync
        self._disk = self._at_cut = Disk.seen(folder)
        self._held: dict[int, int] = {}
        self.left: int | None = None
        patch.setattr(os, "fsync", self.fsync)

    def fsync(self, handle: int) -> None:
        """Note what a file or a folder has now. The power may be cut before that."""
        self.tick()
        state = os.fstat(handle)
        if stat.S_ISDIR(state.st_mode):
            self._disk.names[state.st_ino] = names_in(handle)
        else:
            self._disk.contents[state.st_ino] = os.pread(handle, state.st_size, 0)
            self._hold(state)

    def _hold(self, state: os.stat_result) -> None:
        """Keep a file open, so that no other one gets its number. `dup` would keep its lock, too."""
        for path in self._folder.rglob("*"):
            if state.st_ino not in self._held and os.path.samestat(path.lstat(), state):
                self._held[state.st_ino] = os.open(path, os.O_RDONLY)

    def tick(self) -> None:
        """Cut the power when no more steps are left."""
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                self.off()
                raise Cut

    def off(self) -> None:
        """Note what there is as the power is cut."""
        self._at_cut = Disk.seen(self._folder)

    def lose(self, rng: Random) -> None:
        """Lose what no fsync vouched for: of some files all of it, of some the end, of some nothing."""
        self.left = None
        lost, was, now = Disk(), self._disk, self._at_cut
        for folder in was.names | now.names:
            before, after = was.names.get(folder, {}), now.names.get(folder, {})
            either = {name: rng.choice([before.get(name), after.get(name)]) for name in sorted(before | after)}
            lost.names[folder] = {name: number for name, number in either.items() if number is not None}
        for number in now.contents | was.contents:
            kept = was.contents.get(number, b"")
            there = now.contents.get(number, kept)
            if there.startswith(kept):
                lost.contents[number] = there[: rng.choice([len(kept), rng.randint(len(kept), len(there)), len(there)])]
            else:
                lost.contents[number] = rng.choice([kept, there])
        for path in self._folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.close()
        lost.write(self._folder.stat().st_ino, self._folder)
        self._disk = Disk.seen(self._folder)

    def close(self) -> None:
        """Watch no further, and let the files go."""
        self.left = None
        while self._held:
            os.close(self._held.popitem()[1])


def names_in(folder: Path | int) -> dict[str, int]:
    with os.scandir(folder) as entries:
        return {entry.name: entry.inode() for entry in entries}
