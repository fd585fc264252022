"""Where pictures go: a file, a folder, a pattern with ``{stem}``, or standard output."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from zvae_tiled.errors import OutputError
from zvae_tiled.files.protect import Source, check_outputs
from zvae_tiled.planner.calibration import calibration_files

STDOUT = "-"
STDOUT_FILE = Path("/dev/stdout")
"""Where a shell sends standard output to a file, it is that file."""

STEM = "{stem}"
KIND = ".png"
"""What is written where no ending says it."""


def outputs(out: str, names: list[Path]) -> list[Path]:
    """Return the file for each input.

    Args:
        out: What ``-o`` says.
        names: The inputs, one or more.
    """
    folder = out.endswith("/") or Path(out).is_dir()
    if folder:
        found = [Path(out) / f"{name.stem}{KIND}" for name in names]
    elif STEM in out:
        found = [Path(out.replace(STEM, name.stem)) for name in names]
    else:
        found = [Path(out)]
    if len(names) > 1 and len(found) == 1:
        raise click.UsageError(
            f"{len(names)} inputs need a folder or a pattern: -o pictures/ or -o 'pictures/{STEM}.png'"
        )
    if folder and not Path(out).is_dir():
        try:
            Path(out).mkdir()
        except OSError as error:
            raise OutputError(f"{out} cannot be made: {error.strerror}", "Name a folder that can be.") from error
    return found


def refuse_clashes(files: Sequence[Path], inputs: Sequence[Path | Source]) -> None:
    """Refuse files that would be written twice, and those that are inputs: every command that writes calls this first.

    Args:
        files: All that will be written, those of each picture of a batch.
        inputs: All that the command reads; calibrations, which every command may read, are added here.
    """
    stored: list[Path] = []
    with suppress(OSError, RuntimeError):  # no folder for them, or no home
        stored = calibration_files()
    sources = [each if isinstance(each, Source) else Source.of(each) for each in (*inputs, *stored)]
    try:
        check_outputs(files, sources)
    except OutputError as error:
        raise click.UsageError(f"{error.problem}. {error.advice}") from error


@contextmanager
def standard_output() -> Iterator[Path]:
    """Give a file to write to; it goes to standard output as a whole when the block is done.

    Raises:
        OutputError: Nobody reads it to its end.
    """
    stream = sys.stdout.buffer
    if stream.isatty():
        raise click.UsageError("Standard output is a terminal: name a file, or send it somewhere with | or >.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"stdout{KIND}"
        yield path
        try:
            with path.open("rb") as file:
                shutil.copyfileobj(file, stream)
            stream.flush()
        except OSError as error:
            raise OutputError(f"standard output: {error.strerror}", "Whoever read it ended first.") from error
