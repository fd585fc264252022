"""Output files on the command line: a file, a folder, a pattern with ``{stem}``, or standard output."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import click

from zvae_tiled.cli.printing import give_up_standard_output
from zvae_tiled.cli.spoken import show_as
from zvae_tiled.cli.temporary import free_name, temporary_folder
from zvae_tiled.errors import OutputError
from zvae_tiled.files.atomic import missing_folder
from zvae_tiled.files.filesystem import rename_exclusively
from zvae_tiled.files.protect import Source, check_outputs
from zvae_tiled.files.special import is_special
from zvae_tiled.planner.calibration import calibration_files

STDOUT = "-"
STDOUT_FILE = Path("/dev/stdout")
"""If the shell redirects standard output to a file, this path is that file."""

STEM = "{stem}"
KIND = ".png"
"""The default file kind."""


@contextmanager
def outputs(out: str, names: list[Path], kind: str = KIND) -> Iterator[list[Path]]:
    """Yield the file for each input. A folder is created if there is none, and removed again if it stays empty.

    Args:
        out: The value of ``-o``.
        names: The inputs, one or more.
        kind: The file kind in a folder.
    """
    targets = named(out, names, kind)
    if len(names) > 1 and len(targets) == 1:
        raise click.UsageError(f"{len(names)} inputs need a folder or a pattern: -o files/ or -o 'files/{STEM}{kind}'")
    if not _is_folder(out) or os.path.isdir(out):
        yield targets
        return
    if not os.path.isdir(Path(out).parent):
        raise missing_folder(Path(out), Path(out).parent)
    try:
        Path(out).mkdir()
    except OSError as error:
        raise OutputError(f"{out} cannot be created: {error.strerror}", "Name another folder.") from error
    try:
        yield targets
    finally:
        with suppress(OSError):  # it holds pictures
            Path(out).rmdir()


def named(out: str, names: list[Path], kind: str = KIND) -> list[Path]:
    """Return the file for each input, or one for all if `out` is its name. The arguments are those of `outputs`."""
    _check_pattern(out)
    if _is_folder(out):
        return [Path(out) / f"{name.stem}{kind}" for name in names]
    if STEM in out:
        return [Path(out.replace(STEM, name.stem)) for name in names]
    return [Path(out)]


def _is_folder(out: str) -> bool:
    return out.endswith("/") or os.path.isdir(out)


def _check_pattern(out: str) -> None:
    """Refuse braces that are no pattern, except in the names of what exists."""
    new = "".join(each.name for each in (Path(out), *Path(out).parents) if not os.path.lexists(each))
    if set("{}") & set(new.replace(STEM, "")):
        raise click.UsageError(f"-o {out}: the only pattern is {STEM}, which is the input's name without its ending.")


def refuse_clashes(files: Sequence[Path], inputs: Sequence[Path | Source]) -> None:
    """Refuse outputs that would be written twice, or that are inputs. Every command that writes calls this first.

    Args:
        files: All files to be written, including each picture of a batch.
        inputs: All files that the command reads. Stored calibrations are added here: any command may read them.
    """
    stored: list[Path] = []
    with suppress(OSError, RuntimeError):  # no cache folder, or no home folder
        stored = calibration_files()
    sources = [each if isinstance(each, Source) else Source.of(each) for each in (*inputs, *stored)]
    try:
        check_outputs(files, sources, replaced=False)  # an order looks again, before its work
    except OutputError as error:
        raise click.UsageError(f"{error.problem}. {error.advice}") from error


def check_outside(work: str | Path, targets: list[Path]) -> None:
    """Refuse outputs in the work folder, which is removed at the end."""
    for target in targets:
        if os.path.realpath(target.parent) == os.path.realpath(work):
            raise click.UsageError(f"--work: {target} is in the work folder. Name a file in another folder.")


def check_work(targets: list[Path]) -> None:
    """Refuse outputs that a work folder cannot hold."""
    for target in targets:
        if target.suffix.lower() == ".dzi":
            raise click.UsageError(f"--work: {target} cannot be kept in a work folder. Write a .ptif or a .tiff.")
        if is_special(target):
            raise click.UsageError(f"--work: {target} is no file. Name a file.")


def refuse_beside_standard(outs: Sequence[str]) -> None:
    """Refuse other outputs beside standard output."""
    if len(outs) > 1:
        raise click.UsageError("Standard output (-) takes one picture: remove the other -o, or - itself.")


def refuse_as_file(option: str, path: Path) -> None:
    """Refuse standard output where an option writes a file: one of the name ``-`` would be created."""
    if str(path) == STDOUT:
        raise click.UsageError(f"{option}: this is written into a file. Name one in place of -.")


def refuse_batch_on_standard(count: int) -> None:
    """Refuse more than one picture on standard output."""
    if count > 1:
        raise click.UsageError(f"A batch of {count} does not fit on standard output: name a file with -o.")


def checked_standard_output() -> BinaryIO:
    """Return standard output as a stream of bytes. It is refused, before any work, if it is closed or a terminal."""
    stream = sys.stdout.buffer
    with suppress(OSError):  # no file at all, as in a test
        if fcntl.fcntl(stream, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise click.UsageError("Standard output (-) is closed: name a file with -o, or redirect it with | or >.")
    if stream.isatty():
        raise click.UsageError(
            "Standard output is a terminal: name a file with -o, or redirect the output with | or >."
        )
    return stream


@contextmanager
def standard_output(quiet: bool, keep: bool = False) -> Iterator[Path]:
    """Yield a temporary file to write to. It is copied to standard output when the block ends, which is then said.

    Args:
        quiet: Whether nothing is said.
        keep: Whether a finished file is kept, under another name, if it does not reach standard output whole.

    Raises:
        OutputError: The reader of standard output ended before it had read everything.
    """
    stream = checked_standard_output()
    with temporary_folder("standard output") as folder:
        path = folder / f"stdout{KIND}"
        show_as(path, "standard output")
        try:
            yield path
            _copy(path, stream)
        except BaseException as error:  # Ctrl-C and SIGTERM too
            if keep and path.exists():
                error.add_note(_kept(path))
            raise
    if not quiet:
        click.echo("written    standard output", err=True)


def _copy(path: Path, stream: BinaryIO) -> None:
    """Copy a file to standard output."""
    try:
        with path.open("rb") as file:
            shutil.copyfileobj(file, stream)
        stream.flush()
    except OSError as error:
        give_up_standard_output()
        early = isinstance(error, BrokenPipeError)
        advice = "The program that reads it ended too early." if early else "Name a file with -o."
        raise OutputError(f"standard output: {error.strerror}", advice) from error


def _kept(path: Path) -> str:
    """Give a finished file a name, here or beside the temporary folder, and return what to say of it.

    It is never copied: the disk may be full.
    """
    for folder in (Path(), path.parent.parent):
        kept = free_name(folder, "picture", path.suffix)
        try:
            rename_exclusively(path, kept)
        except OSError:  # another disk, or a folder that cannot be written to
            continue
        return f"The picture is whole. It is in {kept}."
    return "The picture was whole, but it cannot be kept."
