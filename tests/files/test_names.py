"""One of several rivals publishes a file under a name, with the permissions that the umask or the old file gives."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.files.publishing import WAYS, contents, finished, only
from tests.support.leftovers import refusal
from tests.support.running import ROOT
from zvae_tiled.files.atomic import atomic_file, check_place, publish


@pytest.mark.parametrize("way", WAYS)
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
from zvae_tiled.files.atomic import AtomicFile, publish
me, rivals, rounds, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
for number in range(rounds):
    file = AtomicFile(folder / f"{number}")
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


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o022, 0o000])
def test_the_kernel_applies_the_umask(umask: int, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from zvae_tiled.files.atomic import atomic_file\n"
        "os.umask = lambda mask: sys.exit('other threads would see this')\n"
        "with atomic_file(Path('a')) as file: part, = Path().glob('.zvae-*'); print(part.stat().st_mode & 0o777)\n"
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
        (part,) = tmp_path.glob(".zvae-*")
        assert part.stat().st_mode & 0o777 == mode, "what is half written is as private as what it replaces"
        file.write(b"new")
    assert path.stat().st_mode & 0o777 == mode
    assert contents(tmp_path) == {"a": "new"}


@pytest.mark.parametrize("special", ["/dev/null", "fifo"])
def test_a_device_is_not_replaced(special: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "is a device, a pipe or a socket" in refusal(check_place, tmp_path / special)


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    assert "cannot be written: " in refusal(check_place, tmp_path / ("a" * 300))


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
