"""Input files on the command line: names, patterns and standard input."""

from __future__ import annotations

import contextlib
import filecmp
import glob
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from zvae_tiled.cli.again import CHANGES
from zvae_tiled.cli.spoken import keep_names, show_as
from zvae_tiled.cli.temporary import free_name, no_room, temporary_folder
from zvae_tiled.errors import InputError, LatentsError
from zvae_tiled.files.atomic import atomic_file
from zvae_tiled.weights.content import SNIFF_BYTES, looks_like_safetensors
from zvae_tiled.wording import listed

STDIN = "-"
STDIN_FILE = Path("/dev/stdin")
"""If the shell redirects standard input from a file, this path is that file."""

PIECE = 1 << 20
"""Bytes that are copied at a time."""

MAGIC = {b"\x93NUMPY": ".npy", b"PK\x03\x04": ".npz"}
"""File kinds by their first bytes. Everything else is read as safetensors, whose reader refuses other files."""


def expanded(names: tuple[str, ...], error: type[InputError] = LatentsError) -> tuple[str, ...]:
    """Return the files that the names and quoted patterns match.

    Args:
        names: What is on the command line.
        error: The error of a pattern that matches none, and of files of which none is there.
    """
    files: list[str] = []
    for name in names:
        if name == STDIN or os.path.exists(name) or not glob.has_magic(name):
            files.append(name)
            continue
        matches = sorted(glob.glob(name, recursive=True))
        if not matches:
            raise error(f"no file matches {name}", "Check the pattern and the folder.")
        files += matches
        keep_names(matches)
    if files.count(STDIN) > 1:
        raise click.UsageError("Standard input (-) can be read once. Use - once.")
    if not any(name == STDIN or os.path.lexists(name) for name in files):  # said before a VAE is looked for
        raise error(f"there is no file {listed(files)}", "Check the names and the folders.")
    return tuple(dict.fromkeys(files))


def refuse_streams(*names: str | None) -> None:
    """Refuse ``-`` where a command reads and writes files only.

    Raises:
        click.UsageError: One of the names is ``-``.
    """
    if STDIN in names:
        raise click.UsageError("Only zvae decode and zvae video take - for standard input or output. Name a file.")


@contextlib.contextmanager
def standard_input(names: tuple[str, ...]) -> Iterator[Path | None]:
    """Yield a temporary copy of standard input, if one of the names is ``-``; else None.

    If the block fails or is interrupted, the latents are kept in a file, because they cannot be read a second time:
    unless a file was redirected, which still holds them.
    """
    if STDIN not in names:
        yield None
        return
    redirected = _redirected()
    with temporary_folder("standard input") as folder:
        path = _received(folder)
        show_as(path, "standard input")
        try:
            yield path
        except BaseException:  # Ctrl-C and SIGTERM too
            _keep(path, names, redirected)
            raise


def _redirected() -> Path | None:
    """Return the file that standard input reads from its start; None for a pipe, or for a file without a name."""
    try:
        number = sys.stdin.fileno()
        if sys.stdin.buffer.tell():
            return None
        path = Path(os.path.realpath(f"/dev/fd/{number}"))  # on Macs this is no link, and the file has no name here
        same = os.path.samestat(os.stat(path), os.fstat(number))
    except (AttributeError, OSError, ValueError):  # it is closed, or a pipe, or no file at all, as in a test
        return None
    if not same or not path.is_file() or path.is_relative_to("/dev"):
        return None
    here = Path().absolute()
    short = path.relative_to(here) if path.is_relative_to(here) else path
    return path if str(short).startswith("-") else short  # which would be taken for an option


def _same(path: Path, redirected: Path) -> bool:
    """Return whether a file still holds what was read. Others may have replaced it meanwhile."""
    try:
        return filecmp.cmp(path, redirected, shallow=False)
    except OSError:
        return False


def _keep(path: Path, names: tuple[str, ...], redirected: Path | None) -> None:
    from zvae_tiled.files.temporary import temporary_folder as spill_folder

    changes = click.get_current_context().meta.setdefault(CHANGES, {})
    left = changes.get("latents", names)
    if STDIN not in left:  # its picture was written, and only other files failed
        return
    if not _looks_like_latents(path):  # such as the words of a program that failed
        return
    if redirected is not None and _same(path, redirected):
        click.echo(f"The latents from standard input are still in {redirected}.", err=True)
        changes["latents"] = [str(redirected) if name == STDIN else name for name in left]
        return
    for folder in (Path(), spill_folder()):
        kept = free_name(folder, "latents", path.suffix)
        try:
            with path.open("rb") as received, atomic_file(kept, overwrite=False) as file:
                shutil.copyfileobj(received, file)
        except OSError as error:  # must not hide the error that is being handled
            click.echo(f"The latents from standard input cannot be kept in {kept}: {error.strerror}.", err=True)
            continue
        click.echo(f"The latents from standard input are in {kept}.", err=True)
        changes["latents"] = [str(kept) if name == STDIN else name for name in left]
        return


def _looks_like_latents(path: Path) -> bool:
    """Return whether a file begins as one of latents does. A safetensors begins with its header's length and a "{"."""
    with path.open("rb") as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    return any(map(start.startswith, MAGIC)) or (start[8:] == b"{" and 8 + length <= path.stat().st_size)


def _received(folder: Path) -> Path:
    if sys.stdin is None:
        raise click.UsageError("Standard input (-) is closed: redirect latents to it with | or <, or name a file.")
    stream = sys.stdin.buffer
    if stream.isatty():
        raise click.UsageError("Standard input (-) is a terminal: redirect latents to it with | or <, or name a file.")
    start = _read(stream, SNIFF_BYTES)
    suffix = next((suffix for magic, suffix in MAGIC.items() if start.startswith(magic)), None)
    path = folder / f"stdin{suffix or '.safetensors'}"
    try:
        with path.open("wb") as file:
            file.write(start)
            if suffix or looks_like_safetensors(start):  # else it is refused by its beginning, however long it is
                while piece := _read(stream, PIECE):
                    file.write(piece)
    except OSError as error:
        raise no_room("standard input", error) from error
    return path


def _read(stream: BinaryIO, count: int) -> bytes:
    """Read standard input. Its errors are not those of the file into which it is copied."""
    try:
        return stream.read(count)
    except OSError as error:
        raise LatentsError(f"standard input cannot be read: {error.strerror or error}", "Name a file.") from error
