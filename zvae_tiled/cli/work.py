"""`zvae work`: lists work folders, and removes them."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from zvae_tiled.cli.command import Command
from zvae_tiled.errors import InputError, PlanError
from zvae_tiled.files.work_folder import JOURNAL, WorkFolder, ends_of, in_use, is_work_folder, size_of
from zvae_tiled.planner.reached import reached, with_seconds
from zvae_tiled.wording import listed, size


@click.command(cls=Command, short_help="List work folders, or remove them.")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--remove", is_flag=True, help="Remove FOLDERS, with all that their decodes have done.")
def work(folders: tuple[Path, ...], remove: bool) -> None:
    """List the work folders of zvae decode --work: FOLDERS and those in them, by default those here.

    Shows the picture, how far its decode is, the space on disk, and when it was last used.
    """
    folders = tuple(folder.resolve() if folder.is_symlink() else folder for folder in folders)
    if remove:
        if not folders:
            raise click.UsageError("--remove: name the folders to remove.")
        for folder in folders:
            if not is_work_folder(folder):
                raise InputError(f"{folder} is no work folder", "Name the folder of zvae decode --work.")
        for folder in folders:
            WorkFolder(folder).remove()
            click.echo(f"removed    {folder}")
        return
    found = [each for folder in folders or (Path(),) for each in (folder, *_inside(folder))]
    shown = list(filter(is_work_folder, found))
    for each in shown:
        try:
            click.echo(line(each))
        except FileNotFoundError:
            continue  # its decode has just ended
        except OSError as error:
            click.echo(f"{each} cannot be read: {error.strerror or error}", err=True)
    if not shown:
        click.echo("no work folders", err=True)


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}", "Name another folder.") from error


def line(folder: Path) -> str:
    """Return one line about a work folder."""
    used = datetime.fromtimestamp(os.stat(folder / JOURNAL).st_mtime)
    state = "in use" if in_use(folder) else f"last used {used:%Y-%m-%d %H:%M}"
    return f"{folder}  {progress(ends_of(folder))}, {size(size_of(folder))} on disk, {state}"


def progress(ends: list[dict[str, Any]]) -> str:
    """Return the picture and how far its decode is, by the first record of its journal and the last."""
    try:
        plan = with_seconds(ends[0]["plan"])
        picture, sweep, rows = map(int, ends[-1].get("at", (0, 0, 0)))
        _, share = reached(plan, (picture, sweep, rows))
    except PlanError:
        return "a plan of another version"
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError):
        return "a journal that cannot be read"
    height, width = plan.case.pixels
    pictures = ends[0].get("pictures")  # journals of before have none
    if isinstance(pictures, list):  # the file of one that goes to standard output was a temporary one
        pictures = [each for each in pictures if isinstance(each, str) and os.path.isdir(os.path.dirname(each) or ".")]
    named = f"{listed(pictures, 2)}: " if pictures else ""
    return f"{named}{plan.case.batch} x {width}x{height}, {share:.0%} done"
