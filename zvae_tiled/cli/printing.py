"""What is printed: warnings of the library, and what becomes of streams that cannot be written to."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from traceback import walk_tb
from typing import TextIO, cast

import click
import click.utils

from zvae_tiled.cli.spoken import spoken
from zvae_tiled.errors import OutputError
from zvae_tiled.report.steady import Steady


def give_up_standard_output() -> None:
    """Let standard output go to the null device, so that Python's last flush does not fail."""
    _give_up(sys.stdout)


def _give_up(stream: TextIO) -> None:
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())


@contextmanager
def standard_error_steady() -> Iterator[None]:
    """Let nothing that is written to standard error end the block, be it the bar, a warning, or click's own words.

    The terminal may be gone, or the disk of a log full. That is no reason to lose hours of a decode at its last line.
    """
    stream = sys.stderr
    sys.stderr = cast(TextIO, Steady(stream))
    try:
        yield
    finally:
        sys.stderr = stream
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):  # Python would exit with 120, for its own last flush fails too
            _give_up(stream)


def unwritable(error: OSError) -> OutputError | None:
    """Return an error of standard output as ours; None if another file failed."""
    printing = any(frame.f_globals.get("__name__") == click.utils.__name__ for frame, _ in walk_tb(error.__traceback__))
    try:
        sys.stdout.flush()
    except OSError:
        printing = True
    if not printing:
        return None
    give_up_standard_output()
    return OutputError(f"standard output: {error.strerror}", "Redirect it to a file on a disk with free space.")


@contextmanager
def warnings_printed() -> Iterator[None]:
    """Print warnings for users as the other lines are, without the place in the source that Python prints."""
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if category is UserWarning:
            click.echo(f"{'warning':<11}{spoken(str(message))}", err=True)
        else:
            before(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


class _Told(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        label = "warning" if record.levelno >= logging.WARNING else "zvae"
        click.echo(f"{label:<11}{record.getMessage()}", err=True)


@contextmanager
def warnings_told(level: int = logging.WARNING) -> Iterator[None]:
    """Print what the library warns of, on standard error; with ``logging.INFO``, also what it starts and ends."""
    log, told = logging.getLogger("zvae_tiled"), _Told(level)
    before = log.level, log.propagate
    log.addHandler(told)
    if level < logging.WARNING:
        log.setLevel(level)
        log.propagate = False  # a host that prints its own log would print these lines again
    try:
        yield
    finally:
        log.removeHandler(told)
        log.setLevel(before[0])
        log.propagate = before[1]
