"""A file that is read is never replaced, however its path is spelled. Other files may be replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.leftovers import nothing_left, refusal
from zvae_tiled.errors import OutputError
from zvae_tiled.files.protect import Source, check_outputs

NAMES = ("a.npy", "b.npy", "sub/a.npy", "sub/deep/c.npy")


def tree(folder: Path) -> Path:
    """Some files, and other names for some of them."""
    (folder / "sub" / "deep").mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_text(name)
    (folder / "linked").symlink_to("sub")
    (folder / "soft.npy").symlink_to("sub/a.npy")
    (folder / "softer.npy").symlink_to("soft.npy")
    (folder / "hard.npy").hardlink_to(folder / "b.npy")
    (folder / "dangling.npy").symlink_to("none.npy")
    return folder


def spelled(rng: Random, folder: Path) -> Path:
    """Return a random spelling of a random file, which may not exist."""
    name = rng.choice([*NAMES, "soft.npy", "softer.npy", "hard.npy", "dangling.npy", "none.npy", "sub/none.npy"])
    parts = Path(name).parts
    if parts[0] == "sub" and rng.random() < 0.5:
        parts = ("linked", *parts[1:])
    detour = rng.choice(["", ".", "sub/..", "linked/deep/../..", "sub/deep/../../sub/.."])
    text = os.path.join(rng.choice([str(folder), "", "."]), detour, *parts)
    return Path(text)


def same(first: Path, second: Path) -> bool:
    """Return whether two paths are the same file, or would be if created."""
    if first.exists() and second.exists():
        return first.samefile(second)
    return not first.exists() and not second.exists() and _place(first) == _place(second)


def _place(path: Path) -> str:
    return os.path.realpath(path)


@settings(max_examples=150)
@given(seed=st.integers(0, 1 << 30))
def test_every_spelling_of_what_is_read_is_seen_and_nothing_else(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng, folder = Random(seed), tree(tmp_path_factory.mktemp("tree"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        inputs = [path for path in (spelled(rng, folder) for _ in range(2)) if path.exists()]
        outputs = [spelled(rng, folder) for _ in range(rng.randint(1, 3))]
        read = any(same(output, path) for output in outputs for path in inputs)
        twice = any(same(output, other) for i, output in enumerate(outputs) for other in outputs[:i])
        try:
            check_outputs(outputs, [Source.of(path) for path in inputs])
        except OutputError as error:
            assert read or twice, error
            assert ("is an input" in str(error) and read) or ("would be written to" in str(error) and twice)
        else:
            assert not read
            assert not twice


def folds(folder: Path) -> bool:
    """Whether the file system ignores the case of letters."""
    (folder / "probe").touch()
    found = (folder / "PROBE").exists()
    (folder / "probe").unlink()
    return found


def check(folder: Path, *names: str) -> None:
    check_outputs([folder / name for name in names], [])


def test_names_that_differ_in_case_are_two_where_the_file_system_says_so(tmp_path: Path) -> None:
    with nothing_left(tmp_path):
        if folds(tmp_path):
            assert "Several files would be written to" in refusal(check, tmp_path, "a.png", "A.png")
        else:
            check(tmp_path, "a.png", "A.png")
        check(tmp_path, "a.png", "b.png", "é.png")


@pytest.fixture
def ignoring_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """An `os` whose file names are all of small letters."""

    def small(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(path: Any, *args: Any, **options: Any) -> Any:
            if isinstance(path, str | os.PathLike):
                head, name = os.path.split(os.fspath(path))
                path = os.path.join(head, name.lower())
            return call(path, *args, **options)

        return called

    for name in ("open", "stat", "lstat"):
        monkeypatch.setattr(os, name, small(getattr(os, name)))


def test_a_file_system_that_ignores_case(tmp_path: Path, ignoring_case: None) -> None:
    assert folds(tmp_path)
    (tmp_path / "latents.npy").write_text("latents")
    with nothing_left(tmp_path):
        text = refusal(check, tmp_path, "a.png", "b.png", "A.png")
        assert f"Several files would be written to {tmp_path / 'A.png'} (also called {tmp_path / 'a.png'})" in text
        text = refusal(check_outputs, [tmp_path / "LATENTS.npy"], [Source.of(tmp_path / "latents.npy")])
        assert f"LATENTS.npy is an input (it is the same file as {tmp_path / 'latents.npy'})" in text


def test_a_source_is_known_where_it_was_moved_to_and_what_took_its_place_too(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "weights").write_text("weights")
    source = Source.of(tmp_path / "vae" / "weights")
    (tmp_path / "vae").rename(tmp_path / "moved")
    assert "is an input" in refusal(check_outputs, [tmp_path / "moved" / "weights"], [source])
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "weights").write_text("downloaded again")
    assert "is an input" in refusal(check_outputs, [tmp_path / "vae" / "weights"], [source])


def test_a_file_that_got_the_number_of_a_source_that_is_gone_is_free(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("weights")
    source = Source.of(tmp_path / "weights")
    (tmp_path / "weights").rename(tmp_path / "picture")
    (tmp_path / "picture").write_text("another content with the same number")
    check_outputs([tmp_path / "picture"], [source])


def test_devices_may_be_named_twice(tmp_path: Path) -> None:
    """Under ssh or inetd, standard input and output are one socket."""
    check_outputs([Path("/dev/null")], [Source.of(Path("/dev/null"))])
