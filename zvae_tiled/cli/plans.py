"""Reads and writes plan files, and declares the options for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zvae_tiled.errors import PlanError
from zvae_tiled.files.atomic import write_text
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
        with Path(path).open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode()
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


def write_plan(path: Path, plan: Plan, overwrite: bool) -> None:
    """Write a plan.

    Raises:
        OutputError: The file cannot be written.
    """
    write_text(path, plan.to_json() + "\n", overwrite)
