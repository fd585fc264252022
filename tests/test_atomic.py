"""Names are given to one of many, to all of a batch or to none, and never with permissions nobody asked for."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.leftovers import refusal
from zvae_tiled import filesystem
from zvae_tiled.atomic import AtomicFile, atomic_file, check_place, publish

ROOT = Path(__file__).parent.parent

WAYS = ("link", "system", "claim")
"""To rename exclusively: by a hard link, by a call of the system, and where there is neither."""


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


def finished(path: Path, text: str = "new") -> AtomicFile:
    file = AtomicFile(path)
    file.file.write(text.encode())
    file.finish()
    return file


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() if path.is_file() else "a folder" for path in folder.iterdir()}


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
from zvae_tiled.atomic import AtomicFile, publish
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
        "import os, sys; from pathlib import Path; from zvae_tiled.atomic import atomic_file\n"
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


CALLS = ("link", "replace", "unlink", "lstat", "open", "close", "fsync")
"""What a publication asks of the system."""


class Fault:
    """Makes the given calls of the system raise, instead of being done or when they are done."""

    def __init__(self, faults: dict[int, type[BaseException]], late: bool) -> None:
        self.faults = faults
        self.late = late
        self.count = 0
        self.raised: list[tuple[str, type[BaseException]]] = []

    def __call__(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            number, self.count = self.count, self.count + 1
            fault = self.faults.get(number)
            if fault is None:
                return original(*args, **options)
            if self.late:
                original(*args, **options)
            self.raised.append((name, fault))
            raise OSError(errno.EIO, os.strerror(errno.EIO)) if fault is OSError else fault

        return counted

    @contextmanager
    def striking(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self(name, getattr(os, name)))
            yield


def batch(folder: Path, names: str, overwrite: bool, fault: Fault) -> dict[str, str]:
    """Publish files over those that are there, with a fault; return what was there."""
    before = contents(folder)
    files = [finished(folder / name) for name in names]
    try:
        with fault.striking():
            publish(files, overwrite)
    except (OSError, KeyboardInterrupt):
        for file in files:
            file.discard()
    return before


def all_or_none(folder: Path, names: str, before: dict[str, str], fault: Fault) -> None:
    after = contents(folder)
    if ("unlink", OSError) in fault.raised:  # of the old files: the system refused, and the new ones are there
        after = {name: text for name, text in after.items() if not name.endswith(".old")}
    assert after in (before, before | dict.fromkeys(names, "new"))
    if not fault.raised:
        assert after != before


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("there", ["", "ab", "b", "abc"])
def test_a_batch_is_published_whole_or_not_at_all(
    there: str, kind: type[BaseException], way: str, late: bool, tmp_path: Path
) -> None:
    for overwrite in (True,) if there else (True, False):
        if way == "claim" and late and not overwrite:
            continue  # nobody can tell whose an empty file is that was made in the moment of Ctrl-C
        number, struck = 0, True
        while struck:
            folder = tmp_path / f"{overwrite}{number}"
            folder.mkdir()
            for name in there:
                (folder / name).write_text(f"old {name}")
            fault = Fault({number: kind}, late)
            with only(way):
                before = batch(folder, "abc", overwrite, fault)
            all_or_none(folder, "abc", before, fault)
            number, struck = number + 1, fault.count > number
        assert number > 6, "the faults have struck"


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30))
def test_a_second_interrupt_does_not_stop_the_taking_back(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng, folder = Random(seed), tmp_path_factory.mktemp("batch")
    for name in rng.sample("abcd", rng.randint(0, 4)):
        (folder / name).write_text(f"old {name}")
    first = rng.randrange(25)
    faults = {first: rng.choice([OSError, KeyboardInterrupt]), first + rng.randint(1, 8): KeyboardInterrupt}
    fault = Fault(faults, rng.random() < 0.5)
    with only(rng.choice(WAYS)):
        before = batch(folder, "abcd", True, fault)
    all_or_none(folder, "abcd", before, fault)


KILLED = """
import os, signal, sys
from pathlib import Path
from zvae_tiled.atomic import AtomicFile, publish
if sys.argv[1] == "no links":
    os.link = None  # calling it raises an OSError, below
calls = ("link", "replace", "unlink", "fsync")
for moment in range(100):
    folder = Path(f"{moment}")
    folder.mkdir()
    for name in "abc":
        (folder / name).write_text(f"old {name}")
    child = os.fork()
    if not child:
        left = moment
        def mortal(call):
            def called(*args, **options):
                global left
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                if call is None:
                    raise PermissionError(1, "no links here")
                return call(*args, **options)
            return called
        files = [AtomicFile(folder / name) for name in "abc"]
        for file in files:
            file.file.write(b"new")
            file.finish()
        for name in calls:
            setattr(os, name, mortal(getattr(os, name)))
        publish(files, overwrite=True)
        os._exit(0)
    if not os.waitpid(child, 0)[1]:
        break
"""


@pytest.mark.parametrize("links", ["links", "no links"])
def test_what_was_there_survives_kill_9(links: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", KILLED, links], cwd=tmp_path, env=environment, check=True)
    folders = sorted(tmp_path.iterdir(), key=lambda folder: int(folder.name))
    for folder in folders[:-1]:
        found = contents(folder)
        replaced = {name for name in "abc" if found.get(name) == "new"}
        olds = {text for name, text in found.items() if not name.endswith(".part")}
        if replaced != set("abc"):
            assert olds >= {f"old {name}" for name in "abc"}
        if links == "links":
            assert set("abc") <= set(found), "no name is ever missing"
    assert contents(folders[-1]) == dict.fromkeys("abc", "new")
    assert len(folders) > 8


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_a_target_that_became_a_folder_takes_the_batch_back(way: str, overwrite: bool, tmp_path: Path) -> None:
    files = [finished(tmp_path / name) for name in "abc"]
    if overwrite:
        (tmp_path / "a").write_text("old a")
    (tmp_path / "c").mkdir()
    with only(way), pytest.raises(OSError, match=r"directory|appeared") as error:
        publish(files, overwrite)
    assert error.value.filename == str(tmp_path / "c")
    for file in files:
        file.discard()
    assert contents(tmp_path) == ({"a": "old a"} if overwrite else {}) | {"c": "a folder"}


def test_only_its_own_files_are_taken_back(tmp_path: Path) -> None:
    files = [finished(tmp_path / name) for name in "ab"]
    (tmp_path / "b").mkdir()
    give = files[1].give_name

    def meanwhile(overwrite: bool) -> None:
        other = finished(tmp_path / "a", "somebody else's")
        publish([other], overwrite=True)
        give(overwrite)

    files[1].give_name = meanwhile  # type: ignore[method-assign]
    with pytest.raises(OSError, match=r"folder|directory|appeared"):
        publish(files, overwrite=False)
    for file in files:
        file.discard()
    assert contents(tmp_path) == {"a": "somebody else's", "b": "a folder"}


def test_an_old_file_that_cannot_be_put_back_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("old a")
    files, replace = [finished(tmp_path / name) for name in "ab"], os.replace
    (tmp_path / "b").mkdir()

    def refused(source: Path, target: Path) -> None:
        if source.suffix == ".old":
            raise OSError(errno.EIO, "the disk is broken")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(OSError, match="the file that was there is now") as error:
        publish(files, overwrite=True)
    (kept,) = tmp_path.glob(".zvae-*.old")
    assert kept.read_text() == "old a"
    assert str(kept) in str(error.value)


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
