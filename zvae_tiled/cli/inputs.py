"""Latents on the command line: files, patterns, standard input."""

from __future__ import annotations

import contextlib
import glob
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from zvae_tiled.cli.again import CHANGES
from zvae_tiled.errors import LatentsError
from zvae_tiled.files.atomic import atomic_file

STDIN = "-"
STDIN_FILE = Path("/dev/stdin")
"""Where a shell takes standard input from a file, it is that file."""

MAGIC = {b"\x93NUMPY": ".npy", b"PK\x03\x04": ".npz"}
"""How files begin; what begins otherwise is taken for safetensors, whose reader says so if it is not."""


def expanded(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the files that names and quoted patterns stand for."""
    found: list[str] = []
    for name in names:
        if name == STDIN or Path(name).exists() or not glob.has_magic(name):
            found.append(name)
            continue
        matches = sorted(glob.glob(name, recursive=True))
        if not matches:
            raise LatentsError(f"no file matches {name}", "Check the pattern, and quote it or not.")
        found += matches
    if found.count(STDIN) > 1:
        raise click.UsageError("Standard input (-) can be read once.")
    return tuple(dict.fromkeys(found))


@contextlib.contextmanager
def standard_input(names: tuple[str, ...]) -> Iterator[Path | None]:
    """Keep what comes by standard input in a file, if one of the names asks for it.

    When its block fails, or is interrupted, a copy stays: nobody can send the latents a second time.
    """
    if STDIN not in names:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = _received(Path(folder))
        try:
            yield path
        except BaseException:  # Ctrl-C and SIGTERM too
            _keep(path, names)
            raise


def _keep(path: Path, names: tuple[str, ...]) -> None:
    from zvae_tiled.engine.spill import temporary_folder

    changes = click.get_current_context().meta.setdefault(CHANGES, {})
    left = changes.get("latents", names)
    if STDIN not in left:  # its picture is written: others failed
        return
    for folder in (Path(), temporary_folder()):
        kept = _free_name(folder, path.suffix)
        try:
            with path.open("rb") as received, atomic_file(kept, overwrite=False) as file:
                shutil.copyfileobj(received, file)
        except OSError as error:  # the error that brought us here matters more
            click.echo(f"The latents from standard input cannot be kept in {kept}: {error.strerror}.", err=True)
            continue
        click.echo(f"The latents from standard input are in {kept}.", err=True)
        changes["latents"] = [str(kept) if name == STDIN else name for name in left]
        return


def _received(folder: Path) -> Path:
    stream = sys.stdin.buffer
    if stream.isatty():
        raise click.UsageError("Latents are expected on standard input, which is a terminal.")
    start = stream.read(8)
    suffix = next((suffix for magic, suffix in MAGIC.items() if start.startswith(magic)), ".safetensors")
    path = folder / f"stdin{suffix}"
    with path.open("wb") as file:
        file.write(start)
        shutil.copyfileobj(stream, file)
    return path


def _free_name(folder: Path, suffix: str) -> Path:
    numbers = iter(range(1, 1 << 30))
    return next(path for path in (folder / f"zvae-latents-{n}{suffix}" for n in numbers) if not path.exists())
