"""One of several rivals publishes a file under a name, with the permissions that the umask or the old file gives."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.campaign.mounts import may_mount, mounted
from tests.files.publishing import WAYS, contents, finished, only
from tests.support.leftovers import refusal
from tests.support.running import ROOT
from zvae_tiled.errors import MissingFolderError, OutputError
from zvae_tiled.files.atomic import atomic_file, check_place, publish
from zvae_tiled.files.new_folder import check_folder
from zvae_tiled.files.protect import check_outputs
from zvae_tiled.files.special import followed


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.sample(3)
def test_of_many_threads_one_publishes(way: str, tmp_path: Path) -> None:
    rivals, rounds = 4, 75
    barrier, winners = threading.Barrier(rivals), [list[str]() for _ in range(rounds)]

    def publishing(me: str) -> None:
        for number in range(rounds):
            file = finished(tmp_path / f"{number}", me)
            barrier.wait()
            try:
                publish([file], overwrite=False)
                winners[number].append(me)
            except FileExistsError:
                file.discard()

    with only(way):
        threads = [threading.Thread(target=publishing, args=[f"{me}"]) for me in range(rivals)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [len(names) for names in winners] == [1] * rounds
    assert contents(tmp_path) == {f"{number}": names[0] for number, names in enumerate(winners)}


RIVAL = """
import sys, time
from pathlib import Path
from zvae_tiled.files.atomic import publish
from zvae_tiled.files.new_file import NewFile
me, rivals, rounds, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
for number in range(rounds):
    file = NewFile(folder / f"{number}")
    file.file.write(me.encode())
    file.finish()
    (folder / f"ready-{number}-{me}").touch()
    while not all((folder / f"ready-{number}-{rival}").exists() for rival in range(rivals)):
        time.sleep(0)
    try:
        publish([file], overwrite=False)
        print(number)
    except FileExistsError:
        file.discard()
"""


@pytest.mark.slow
def test_of_several_processes_one_publishes(tmp_path: Path) -> None:
    rivals, rounds = 3, 50
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RIVAL, f"{me}", f"{rivals}", f"{rounds}", str(tmp_path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for me in range(rivals)
    ]
    won = [child.communicate()[0].split() for child in children]
    assert [child.returncode for child in children] == [0] * rivals
    assert sorted(int(number) for numbers in won for number in numbers) == list(range(rounds))
    for me, numbers in enumerate(won):
        assert {(tmp_path / number.decode()).read_text() for number in numbers} <= {f"{me}"}
    assert not list(tmp_path.glob(".zvae-*"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("there", ["a file", "a folder", "a link to nothing"])
def test_a_name_that_is_taken_is_left_alone(way: str, there: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    if there == "a folder":
        path.mkdir()
    elif there == "a file":
        path.touch()
    else:
        path.symlink_to("none")
    before = os.lstat(path)
    with only(way):
        file = finished(path)
        with pytest.raises(FileExistsError, match="a file of that name has appeared"):
            publish([file], overwrite=False)
        file.discard()
    assert os.path.samestat(os.lstat(path), before)
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "umask", [0o027, 0o022, *(pytest.param(umask, marks=pytest.mark.slow) for umask in (0o077, 0o000))]
)
def test_the_kernel_applies_the_umask(umask: int, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from zvae_tiled.files.atomic import atomic_file\n"
        "os.umask = lambda mask: sys.exit('other threads would see this')\n"
        "with atomic_file(Path('a')) as file: print(os.fstat(file.fileno()).st_mode & 0o777)\n"
        "print(Path('a').stat().st_mode & 0o777)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=tmp_path, env=environment, umask=umask
    )
    assert child.stdout.split() == [f"{0o666 & ~umask}".encode()] * 2, child.stderr


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666, 0o444])
def test_a_file_that_is_replaced_keeps_its_permissions(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(mode)
    with atomic_file(path) as file:
        assert os.fstat(file.fileno()).st_mode & 0o777 == mode, "what is half written is as private as what it replaces"
        file.write(b"new")
    assert path.stat().st_mode & 0o777 == mode
    assert contents(tmp_path) == {"a": "new"}


@pytest.mark.parametrize("name", ["socket", "loop", "link to the socket"])
def test_what_cannot_be_written_into_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link to the socket").symlink_to("socket")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(tmp_path / "socket"))
        assert "is a disk, a socket, or a link to itself" in refusal(check_place, tmp_path / name)


def test_a_device_is_written_into(tmp_path: Path) -> None:
    check_place(Path("/dev/null"), overwrite=False)
    with atomic_file(Path("/dev/null"), overwrite=False) as file:
        file.write(b"new")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    if os.path.exists("/dev/full"):
        with pytest.raises(OSError, match="No space"), atomic_file(Path("/dev/full")) as file:
            file.write(b"new")


def test_a_pipe_is_written_into_when_the_file_is_whole(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        check_place(tmp_path / name, overwrite=False)
        reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
        reader.start()
        with atomic_file(tmp_path / name) as file:
            file.write(b"new" * 100_000)
        reader.join()
    assert read == [b"new" * 100_000] * 2
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed(there: bool, tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    link, target = tmp_path / "here" / "link", tmp_path / "there" / "target"
    link.symlink_to("../there/target")
    if there:
        target.write_text("old")
        target.chmod(0o640)
    check_place(link)
    with atomic_file(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert not there or target.stat().st_mode & 0o777 == 0o640
    with pytest.raises(OutputError, match="there is a file of that name"):
        check_place(link, overwrite=False)
    (tmp_path / "far").symlink_to("gone/target")
    with pytest.raises(MissingFolderError, match="gone"):
        check_place(tmp_path / "far")


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    assert "cannot be written: " in refusal(check_place, tmp_path / ("a" * 300))
    assert "cannot be written: " in refusal(check_folder, tmp_path / ("a" * 300), True)


def test_a_name_that_is_too_long_for_a_python_that_does_not_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("is_dir", "is_file", "exists"):  # as those of Python 3.14: they answer no to any error
        monkeypatch.setattr(Path, name, getattr(os.path, name.replace("_", "")))
    monkeypatch.setattr(Path, "is_symlink", os.path.islink)
    assert "cannot be written: " in refusal(check_place, tmp_path / ("a" * 300))
    assert "cannot be written: " in refusal(check_place, tmp_path / ("a" * 300) / "b")


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def refused(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(handle)

    monkeypatch.setattr(os, "fsync", refused)
    with atomic_file(tmp_path / "a") as file:
        file.write(b"new")
    assert contents(tmp_path) == {"a": "new"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a link of another user")
def test_a_link_that_another_user_planted_is_not_followed(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own.txt"
    shared.mkdir()
    shared.chmod(0o1777)
    own.write_text("mine")
    (shared / "picture.png").symlink_to(own)
    followed(shared / "picture.png")  # of this user
    os.lchown(shared / "picture.png", 12345, 12345)
    with pytest.raises(PermissionError, match="link of another user"):
        followed(shared / "picture.png")
    with pytest.raises(OutputError, match="link of another user"):
        check_place(shared / "picture.png")
    assert own.read_text() == "mine"


def test_another_user_s_file_in_a_shared_folder_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_text("theirs")
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    check_outputs([tmp_path / "a.png"], [])
    tmp_path.chmod(0o1777)
    assert "cannot be replaced: it is another user's" in refusal(check_outputs, [tmp_path / "a.png"], [])
    check_outputs([tmp_path / "b.png"], [])
    check_outputs([tmp_path / "a.png"], [], replaced=False)


@pytest.fixture
def mounts() -> None:
    if not may_mount():
        pytest.skip("nothing can be mounted here")


def test_a_file_that_is_mounted_is_refused_before_any_work(mounts: None, tmp_path: Path) -> None:
    """As by docker run -v FILE:FILE. It can be written to, but nothing can get its name."""
    theirs, ours = tmp_path / "theirs.png", tmp_path / "our own.png"
    for each in (theirs, ours):
        each.write_text("old")
    with mounted(ours, "--bind", str(theirs)):
        assert "cannot be replaced: it is mounted there" in refusal(check_outputs, [ours], [])
    check_outputs([ours], [])


def test_two_names_of_a_file_that_will_be_written_are_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    with pytest.raises(OutputError, match="Several files would be written"):
        check_outputs([tmp_path / "a.png", tmp_path / "b.png"], [])
