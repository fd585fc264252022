"""Limits of control groups: groups the kernel made, and groups made up in a folder, of both versions."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.groups import MadeUp, real_group, run_in, write
from tests.support.running import environment
from zvae_tiled.devices.cgroup import cpu_quota, memory_left, memory_limit

MB = 10**6

NONE = 9223372036854771712
"""The number that version 1 writes if there is no limit."""


@pytest.fixture
def groups(tmp_path: Path) -> MadeUp:
    return MadeUp(tmp_path)


def test_the_kernel_counts_as_we_do() -> None:
    """A process in a group takes 100 MB, and `memory_left` falls by 100 MB."""
    code = (
        "from zvae_tiled.devices.cgroup import memory_left; before = memory_left(); "
        "taken = b'x' * 100_000_000; print(before, memory_left())"
    )
    with real_group("memory", memory_limit_in_bytes=300 * MB) as group:
        child = run_in(group, "-c", code, environment=environment())
    assert child.returncode == 0, child.stderr
    before, after = map(int, child.stdout.split())
    assert 100 * MB < before < 300 * MB
    assert abs(before - after - 100 * MB) < 5 * MB


@pytest.mark.slow
def test_files_in_the_page_cache_are_not_missing() -> None:
    """A process writes 100 MB to a file. The kernel keeps them in memory, but frees them when memory is needed."""
    code = (
        "import os, sys; from pathlib import Path; from zvae_tiled.devices.cgroup import memory_left; "
        "before = memory_left(); "
        "file = open(sys.argv[1], 'wb'); file.write(bytes(100_000_000)); file.flush(); os.fsync(file.fileno()); "
        "print(before, memory_left(), Path(sys.argv[2], 'memory.usage_in_bytes').read_text())"
    )
    # Not in /tmp, which may itself be memory.
    with (
        tempfile.NamedTemporaryFile(dir="/var/tmp") as file,
        real_group("memory", memory_limit_in_bytes=300 * MB) as group,
    ):
        child = run_in(group, "-c", code, file.name, group, environment=environment())
    assert child.returncode == 0, child.stderr
    before, after, usage = map(int, child.stdout.split())
    assert usage > 100 * MB
    assert before - after < 20 * MB


@pytest.mark.slow
def test_the_kernel_limits_time_as_we_do() -> None:
    code = "from zvae_tiled.devices.cgroup import cpu_quota; print(cpu_quota())"
    with real_group("cpu", cpu_cfs_quota_us=150_000) as group:
        child = run_in(group, "-c", code, environment=environment())
    assert child.stdout == "2\n", child.stderr


@given(
    st.integers(1, 2),
    st.lists(st.tuples(*4 * [st.none() | st.integers(0, 1 << 40)]), min_size=1, max_size=5),
    st.integers(0, 4),
)
def test_every_group_that_can_be_seen_counts(
    version: int, levels: list[tuple[int | None, int | None, int | None, int | None]], hidden: int
) -> None:
    """Levels are (limit, second limit, usage, files), from the root down; a container does not see the upper ones."""
    hidden = min(hidden, len(levels) - 1)
    path = [f"g {level}" for level in range(1, len(levels))]
    expected = []
    with tempfile.TemporaryDirectory(prefix="a b") as folder:
        groups = MadeUp(Path(folder))
        join = groups.version_1 if version == 1 else groups.version_2
        root = "/" + "/".join(path[:hidden])
        mounted = join("/" + "/".join(path), root=root.replace(" ", r"\040"))
        for level, (limit, high, usage, files) in enumerate(levels[hidden:], hidden):
            group = mounted / "/".join(path[hidden:level])
            limits = [each for each in ((limit,) if version == 1 else (limit, high)) if each is not None]
            stat = "" if files is None else f"cache 7\ninactive_file {files}\nactive_file 9"
            if version == 1:
                stat = "" if files is None else f"inactive_file 3\ntotal_inactive_file {files}\ntotal_cache 9"
                write(group, memory_limit_in_bytes=NONE if limit is None else limit)
                write(group, **({} if usage is None else {"memory_usage_in_bytes": usage}))
            else:
                write(group, memory_max="max" if limit is None else limit, memory_high="max" if high is None else high)
                write(group, **({} if usage is None else {"memory_current": usage}))
            write(group, memory_stat=stat)
            if limits:
                expected.append(max(0, min(limits) - max(0, (usage or 0) - (files or 0))))
        assert memory_left(groups.proc) == min(expected, default=None)


def test_version_1_knows_limits_above_what_is_seen(groups: MadeUp) -> None:
    mounted = groups.version_1("/pod/container", root="/pod/container")
    stat = f"hierarchical_memory_limit {200 * MB}\ntotal_inactive_file {10 * MB}"
    write(mounted, memory_limit_in_bytes=NONE, memory_usage_in_bytes=50 * MB, memory_stat=stat)
    assert memory_left(groups.proc) == 160 * MB
    assert memory_limit(groups.proc) == 200 * MB


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("path", ["/host/docker/x", "/../x", "/../../x/y"])
def test_a_path_of_the_host_means_the_group_that_is_mounted(groups: MadeUp, version: int, path: str) -> None:
    """/proc names the group's path on the host, but the mount shows the container alone."""
    limits = {"memory_limit_in_bytes": 100 * MB} if version == 1 else {"memory_max": 100 * MB}
    mounted = (groups.version_1 if version == 1 else groups.version_2)(path)
    write(mounted, **limits)
    write(mounted / "x", **dict.fromkeys(limits, 1))
    assert memory_left(groups.proc) == 100 * MB


def test_the_mount_that_shows_the_group_counts(groups: MadeUp) -> None:
    """On a host, the mounts of its containers can be seen too."""
    write(groups.mount("other", "cgroup2", root="/docker/other"), memory_max=1)
    write(groups.version_2("/user") / "user", memory_max=100 * MB)
    assert memory_left(groups.proc) == 100 * MB


def test_in_a_hybrid_both_versions_count(groups: MadeUp) -> None:
    groups.own("5:devices:/elsewhere", "1:name=systemd:/elsewhere")
    write(groups.version_1("/a") / "a", memory_limit_in_bytes=200 * MB)
    unified = groups.version_2("/b")
    write(unified / "b", cpu_pressure="some avg10=0.00")
    assert memory_left(groups.proc) == 200 * MB
    write(unified / "b", memory_max=100 * MB)
    assert memory_left(groups.proc) == 100 * MB


@pytest.mark.parametrize(
    ("inner", "outer", "cores"),
    [
        ("200000 100000", "max 100000", 2),
        ("max 100000", "150000 100000", 2),
        ("400000 100000", "100000 50000", 2),
        ("1000 100000", "max 100000", 1),
        ("max 100000", "max 100000", None),
        ("100000 0", "0 100000", None),
        ("", "100000", None),
    ],
)
def test_the_smallest_quota_of_time_counts(groups: MadeUp, inner: str, outer: str, cores: int | None) -> None:
    mounted = groups.version_2("/a/b/c")
    write(mounted / "a" / "b", cpu_max=inner)
    write(mounted / "a", cpu_max=outer)
    assert cpu_quota(groups.proc) == cores


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu_cfs_quota_us": 250_000, "cpu_cfs_period_us": 100_000}, 3),
        ({"cpu_cfs_quota_us": -1, "cpu_cfs_period_us": 100_000}, None),
        ({"cpu_cfs_quota_us": 250_000}, None),
    ],
)
def test_version_1_has_two_files_for_time(groups: MadeUp, files: dict[str, int], cores: int | None) -> None:
    mounted = groups.version_1("/a/b", "cpu,cpuacct")
    write(mounted / "a", **files)
    write(mounted / "a" / "b", cpu_cfs_quota_us=-1, cpu_cfs_period_us=100_000)
    groups.version_1("/a", "cpuset")
    assert cpu_quota(groups.proc) == cores


def test_without_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert memory_left(tmp_path / "nothing") is None
    assert cpu_quota(tmp_path / "nothing") is None
    groups = MadeUp(tmp_path)
    groups.version_2("/gone (deleted)")
    assert memory_left(groups.proc) is None
    assert memory_limit(groups.proc) is None


GARBAGE = st.sampled_from(
    [
        "",
        "\0",
        "\n",
        "-1",
        "max",
        "9" * 5000,
        "1e9",
        "0x10",
        "٣",
        "0::/a\0b",
        "0::",
        ":::",
        "4:memory:/..",
        "1 0",
        "cgroup",
    ]
) | st.text(max_size=20)


@given(st.lists(GARBAGE, min_size=5, max_size=5), st.binary(max_size=20), st.booleans())
@example(["", "max", "9" * 5000, "٣", "0::/a\0b"], b"\xff\xfe", True)
def test_garbage_never_raises(texts: list[str], ending: bytes, joined: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        groups = MadeUp(Path(folder))
        mounted = groups.version_2("/a")
        if not joined:
            (groups.proc / "cgroup").write_text("")
        files = [groups.proc / "cgroup", groups.proc / "mountinfo"]
        files += [mounted / name for name in ("memory.max", "memory.stat", "cpu.max")]
        for file, text in zip(files, texts, strict=True):
            with file.open("ab") as handle:
                handle.write(text.encode("utf-8", "surrogatepass") + ending)
        for read in (memory_left, cpu_quota):
            found = read(groups.proc)
            assert found is None or found >= 0


def test_files_that_cannot_be_read_are_skipped(groups: MadeUp) -> None:
    mounted = groups.version_2("/a")
    write(mounted, memory_max=100 * MB)
    (mounted / "a" / "memory.max").mkdir(parents=True)
    assert memory_left(groups.proc) == 100 * MB
