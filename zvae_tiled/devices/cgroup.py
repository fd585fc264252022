"""Limits that Linux control groups set on memory and CPU time, in versions 1 and 2. Imports no MLX.

A limit on a group holds for everything below it. So each group counts, from the one of this process up to the root.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")
"""Where the kernel describes this process. Systems other than Linux have no such folder, and no limits here."""

NO_LIMIT = 1 << 60
"""Version 2 writes "max" where there is no limit, version 1 a number of bytes above this one."""


def memory_left(proc: Path = PROC) -> int | None:
    """Return the bytes that can still be taken before a memory limit is reached; None if there is no limit.

    Args:
        proc: The folder of the process in ``/proc``.
    """
    return min((left for folder in _folders("memory", proc) for left in _memory_left(folder)), default=None)


def memory_limit(proc: Path = PROC) -> int | None:
    """Return the smallest limit on memory in bytes; None if there is no limit.

    Args:
        proc: The folder of the process in ``/proc``.
    """
    smallest = min((_memory_limit(folder, _stat(folder)) for folder in _folders("memory", proc)), default=NO_LIMIT)
    return smallest if smallest < NO_LIMIT else None


def cpu_quota(proc: Path = PROC) -> int | None:
    """Return the smallest limit on CPU time as a number of cores, rounded up; None if there is no limit.

    Args:
        proc: The folder of the process in ``/proc``.
    """
    return min((cores for folder in _folders("cpu", proc) for cores in _cpu_quota(folder)), default=None)


def _memory_left(folder: Path) -> Iterator[int]:
    stat = _stat(folder)
    limit = _memory_limit(folder, stat)
    if limit < NO_LIMIT:
        usage = max(_numbers(folder, "memory.current", "memory.usage_in_bytes"), default=0)
        # Cached files that were not read for a while: the kernel drops them first. In version 1, only the total
        # includes groups below.
        files = stat.get("total_inactive_file", stat.get("inactive_file", 0))
        yield max(0, limit - max(0, usage - files))


def _memory_limit(folder: Path, stat: dict[str, int]) -> int:
    limits = _numbers(folder, "memory.max", "memory.high", "memory.limit_in_bytes")
    # Version 1 also reports the limit of groups above, which a container cannot see.
    return min(*limits, stat.get("hierarchical_memory_limit", NO_LIMIT), NO_LIMIT)


def _stat(folder: Path) -> dict[str, int]:
    entries = re.findall(r"^(\w+) ([0-9]{1,20})$", _text(folder / "memory.stat"), re.MULTILINE)
    return {name: int(number) for name, number in entries}


def _cpu_quota(folder: Path) -> Iterator[int]:
    version_1 = [_text(folder / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    for text in (_text(folder / "cpu.max"), " ".join(version_1)):
        # "max 100000" and "-1 100000" mean that there is no limit.
        match = re.fullmatch(r"\s*([0-9]{1,20})\s+([0-9]{1,20})\s*", text)
        if match is not None and int(match[1]) and int(match[2]):
            yield -(-int(match[1]) // int(match[2]))


def _folders(controller: str, proc: Path) -> list[Path]:
    """Return the folders of the groups of a process: its own group, and each group above it that can be seen."""
    own, mounts = dict(_own_groups(controller, proc)), list(_mounts(controller, proc))
    folders = []
    for kind, path in own.items():
        places = [(point, root) for mounted, root, point in mounts if mounted == kind]
        seen = [(point, below) for point, root in places if (below := _below(root, path)) is not None]
        # In a container, the path can be that of the host. The mount then shows the container's own group.
        for point, below in seen or [(point, PurePosixPath()) for point, _ in places]:
            folders += [point / below, *(point / above for above in below.parents)]
    return folders


def _own_groups(controller: str, proc: Path) -> Iterator[tuple[str, str]]:
    """Yield the file system and the path of this process's group: "4:memory:/path" or, in version 2, "0::/path"."""
    for line in _text(proc / "cgroup").split("\n"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if path.startswith("/") and (not controllers or controller in controllers.split(",")):
            yield "cgroup" if controllers else "cgroup2", path


def _mounts(controller: str, proc: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield the file system of each mount of the controller, the group at its root, and where it is mounted."""
    for line in _text(proc / "mountinfo").split("\n"):
        before, _, after = line.partition(" - ")
        places, system = before.split(" "), after.split(" ")
        if len(places) < 5 or len(system) < 3:
            continue
        if system[0] == "cgroup2" or (system[0] == "cgroup" and controller in system[2].split(",")):
            yield system[0], _unescaped(places[3]), Path(_unescaped(places[4]))


def _below(root: str, path: str) -> PurePosixPath | None:
    """Return the path from a mount's root to a group; None if the group is not below that root."""
    try:
        below = PurePosixPath(path).relative_to(root)
    except ValueError:
        return None
    return None if ".." in below.parts else below


def _unescaped(text: str) -> str:
    """Undo the escapes of mountinfo: a space is written as a backslash and 040."""
    return re.sub(r"\\([0-3][0-7]{2})", lambda match: chr(int(match[1], 8)), text)


def _numbers(folder: Path, *names: str) -> list[int]:
    """Return the numbers of the files that contain one."""
    texts = [_text(folder / name).strip() for name in names]
    return [int(text) for text in texts if re.fullmatch("[0-9]{1,20}", text)]


def _text(path: Path) -> str:
    """Return the text of a file; an empty text if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):  # ValueError: a path with a zero byte
        return ""
