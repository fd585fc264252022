"""All files of a batch get their names, or none does: if any system call fails, and after kill -9."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.files.publishing import WAYS, contents, finished, only
from tests.support.running import ROOT
from zvae_tiled.files.atomic import publish
from zvae_tiled.files.new_folder import NewFolder

CALLS = ("link", "replace", "unlink", "lstat", "open", "close", "fsync")
"""The system calls of a publication."""


class Fault:
    """Makes the system calls with the numbers in `faults` raise: before they are done, or after if `late`."""

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
    """Publish files over existing ones, with a fault. Return the folder's contents from before."""
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
    if ("unlink", OSError) in fault.raised:  # the system refused to remove old files, and the new ones are there
        after = {name: text for name, text in after.items() if not name.endswith(".old")}
    assert after in (before, before | dict.fromkeys(names, "new"))
    if not fault.raised:
        assert after != before


@pytest.mark.parametrize(
    ("there", "kind", "way", "late"),
    list(product(["", "ab", "b", "abc"], [OSError, KeyboardInterrupt], WAYS, [False, True])),
)
@pytest.mark.sample(15)
def test_a_batch_is_published_whole_or_not_at_all(
    there: str, kind: type[BaseException], way: str, late: bool, tmp_path: Path
) -> None:
    for overwrite in (True,) if there else (True, False):
        if way == "claim" and late and not overwrite:
            continue  # at the moment of Ctrl-C it is unknown which process made the empty file
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


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
from zvae_tiled.files.atomic import publish
from zvae_tiled.files.new_file import NewFile
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
        files = [NewFile(folder / name) for name in "abc"]
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
@pytest.mark.sample(2)
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


@pytest.mark.parametrize("before", [False, True])
def test_a_folder_is_taken_back_where_the_disk_takes_no_more_names(
    before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before:
        (tmp_path / "tiles").mkdir()
    folder = NewFolder(tmp_path / "tiles")
    folder.give_name(overwrite=True)

    def refused(*_: Path) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch, ExitStack() as stack:
        patch.setattr(os, "rename", refused)
        if before:
            stack.enter_context(pytest.raises(OSError, match=r"the folder that was there is now .*\.old"))
        folder.take_back()
    folder.discard()
    assert [path.suffix for path in tmp_path.iterdir()] == [".old"] * before


def test_a_folder_is_filled_before_it_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles").chmod(0o555)
    folder = NewFolder(tmp_path / "tiles")
    assert folder.part.stat().st_mode & 0o777 == 0o755
    (folder.part / "0").mkdir()
    folder.give_name(overwrite=True)
    assert (tmp_path / "tiles").stat().st_mode & 0o777 == 0o555
    folder.take_back()
    assert folder.part.stat().st_mode & 0o777 == 0o555
    folder.discard()
    assert not list((tmp_path / "tiles").iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["tiles"]


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
    for file in files:
        file.discard()
    (kept,) = tmp_path.glob(".zvae-*.old")
    assert kept.read_text() == "old a"
    assert str(kept) in str(error.value)
