"""Standard output that cannot be written to: closed, or on a full disk."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from traceback import walk_tb

import click.utils

from zvae_tiled.errors import OutputError


def give_up_standard_output() -> None:
    """Let standard output go to the null device, so that Python's last flush does not fail."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())


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
