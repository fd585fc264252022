"""Reads and writes plan files, and declares the options for them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zvae_tiled.errors import PlanError
from zvae_tiled.files.atomic import write_text
from zvae_tiled.files.opening import without_waiting
from zvae_tiled.planner.files import MAX_BYTES

if TYPE_CHECKING:
    from zvae_tiled.planner.plan import Plan

plan_file_option = click.option(
    "--plan",
    "plan_file",
    metavar="FILE",
    type=click.Path(),
    help="A plan to replay, from --save-plan or zvae plan --json. Use it instead of --budget and --quality.",
)
save_plan_option = click.option(
    "--save-plan",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the plan that was run, as JSON.",
)


def plan_text(path: str) -> str:
    """Return the JSON text of a plan file, after checking it.

    Raises:
        PlanError: The file cannot be read, or is no plan.
    """
    from zvae_tiled.api import read_plan

    try:
        text = _read(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise PlanError(
            f"{path} cannot be read as a plan: {why}", "Name a file written by zvae plan --json."
        ) from error
    try:
        read_plan(text)
    except PlanError as error:
        raise PlanError(f"{path}: {error.problem}", error.advice) from error
    return text


def _read(path: str) -> bytes:
    """Return the first bytes of a file, or of a pipe that has a writer, as one of `<(…)` has. No other is waited for.

    Raises:
        OSError: It cannot be read, or is a pipe without a writer.
    """
    with open(path, "rb", opener=without_waiting) as file:
        first = file.read(1)
        if first == b"" and stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EPIPE, "it is a pipe into which nothing is written")
        os.set_blocking(file.fileno(), True)  # None was read where a writer has not written yet
        return (first or b"") + file.read(MAX_BYTES)


def write_plan(path: Path, plan: Plan, overwrite: bool) -> None:
    """Write a plan.

    Raises:
        OutputError: The file cannot be written.
    """
    write_text(path, plan.to_json() + "\n", overwrite)
