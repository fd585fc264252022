"""Checks, before any work, that a disk has room for the files that are written."""

from __future__ import annotations

import shutil
from pathlib import Path

from zvae_tiled.errors import OutputError
from zvae_tiled.files.special import followed, is_special
from zvae_tiled.files.temporary import temporary_folder
from zvae_tiled.sinks.file import failed


def folder_of(path: Path) -> Path:
    """Return the folder in which a file is written."""
    return temporary_folder() if is_special(path) else followed(path).parent


FEWER_BITS = "Free space, use a file on another disk, or choose fewer bits."


def check_files_fit(
    path: Path, needed: int, spilled: int, spill_folder: Path, beside: int = 0, advice: str = FEWER_BITS
) -> None:
    """Refuse files that the disk may not hold.

    Args:
        path: The first of them.
        needed: The most bytes that they may have.
        spilled: Bytes of maps that are on disk at the same time.
        spill_folder: The folder of these maps.
        beside: Bytes of other files that are written on the same disk.
        advice: What to do next.

    Raises:
        OutputError: There is too little free space.
    """
    folder = folder_of(path)
    try:
        shared = spilled if spill_folder.stat().st_dev == folder.stat().st_dev else 0
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise failed(path, error) from error
    if free < needed + shared + beside:
        maps = f", and spilled maps {shared:,}" if shared else ""
        maps += f", and the files beside it {beside:,}" if beside else ""
        raise OutputError(
            f"{path} may need {needed:,} bytes{maps}; {folder} has {free:,} free",
            advice,
        )
