"""Control groups for tests: made up in a folder, or made by the kernel of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

MOUNTED = Path("/sys/fs/cgroup")
"""Where version 1 has a folder for each controller."""


class MadeUp:
    """Groups in a folder, and the files of ``/proc/self`` about them. Mount points are folders in that folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proc = folder / "proc"
        self.proc.mkdir()
        for name in ("cgroup", "mountinfo"):
            (self.proc / name).write_text("")

    def own(self, *lines: str) -> None:
        """Add lines to the process's list of its own groups."""
        with (self.proc / "cgroup").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def mount(self, name: str, kind: str, options: str = "rw", root: str = "/") -> Path:
        """Mount groups in the folder of that name, from the group ``root`` on, and return the folder."""
        point = self.folder / name
        point.mkdir(exist_ok=True)
        escaped = str(point).replace("\\", r"\134").replace(" ", r"\040")
        with (self.proc / "mountinfo").open("a") as file:
            file.write(f"35 31 0:32 {root} {escaped} rw,relatime shared:9 - {kind} {kind} {options}\n")
        return point

    def version_1(self, path: str, controllers: str = "memory", root: str = "/") -> Path:
        """Put the process into a group of version 1, and return where its controller is mounted."""
        self.own(f"4:{controllers}:{path}")
        return self.mount(controllers, "cgroup", f"rw,{controllers}", root)

    def version_2(self, path: str, root: str = "/") -> Path:
        """Put the process into a group of version 2, and return where groups are mounted."""
        self.own(f"0::{path}")
        return self.mount("unified", "cgroup2", root=root)


def write(folder: Path, **files: object) -> None:
    """Write files into a group; the first underscore of a name stands for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{content}\n")


@contextmanager
def real_group(controller: str, **limits: int) -> Iterator[Path]:
    """Make a group of version 1 with limits, and yield a group inside it without any. Skip where that fails."""
    outer = MOUNTED / controller / f"zvae-test-{os.getpid()}-{time.monotonic_ns()}"
    inner = outer / "nested"
    try:
        try:
            outer.mkdir()  # without parents: in version 2 the controller would become a group
            inner.mkdir()
            for name, limit in limits.items():
                (outer / name.replace("_", ".", 1)).write_text(str(limit))
        except OSError as error:
            pytest.skip(f"no group of version 1 can be made here: {error}")
        yield inner
    finally:
        for group in (inner, outer):
            _remove(group)


def _remove(group: Path) -> None:
    """Remove a group; a process that ended may stay in it for a moment."""
    deadline = time.monotonic() + 30
    while group.is_dir():
        try:
            group.rmdir()
        except OSError:
            for member in (group / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(member), signal.SIGKILL)
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def run_in(group: Path, *words: str | Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments as a member of a group."""
    join = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    command = ["sh", "-c", join, str(group), sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
