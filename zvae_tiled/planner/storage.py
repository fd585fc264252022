"""`Storage`: where a decode may store its maps, and how much of them on disk."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

from zvae_tiled.errors import InputError
from zvae_tiled.files.temporary import free_space
from zvae_tiled.planner.budget import Available, amount
from zvae_tiled.planner.stage import Medium


@dataclass(frozen=True)
class Storage:
    """Where a decode may store its maps.

    Attributes:
        limit: The most bytes on disk at once; None if the disk alone is the limit.
        work: Whether every map is stored on disk, so that the decode can go on after a crash.
    """

    limit: int | None = None
    work: bool = False

    @property
    def media(self) -> tuple[Medium, ...]:
        """Where a map may be stored, the fastest first."""
        return ("disk",) if self.work else ("ram", "disk")

    def holds(self, size: int) -> bool:
        """Return whether `size` bytes may be on disk."""
        return self.limit is None or size <= self.limit


ANYWHERE = Storage()

_ZERO = re.compile(r"\s*0+(\.0*)?\s*([kmgt]?i?b?|%)?\s*", re.IGNORECASE)
"""No disk, in any unit. As a budget it would be refused."""


def disk_limit_of(value: str | float | None, folder: Path | None = None) -> int | None:
    """Read a disk limit: 0, or any form of a budget.

    Args:
        value: The limit.
        folder: Where maps are stored: a share is one of the free space of its disk. It may not be there yet. Default:
            the folder for temporary files.

    Raises:
        InputError: `value` is not an amount.
    """
    if value is None:
        return None
    nothing = bool(_ZERO.fullmatch(value)) if isinstance(value, str) else isinstance(value, Real) and value == 0
    if nothing and not isinstance(value, bool):
        return 0
    try:
        return amount(value, Available(free_space(None if folder is None else _there(folder)))).size
    except InputError as error:
        raise InputError(
            error.problem.replace("a budget", "disk_limit").replace("memory above 0", "disk, 0 or more"),
            'Write "200GB", 200.0 (GB), 0, or "50%" of the free space.',
        ) from error


def in_bytes(value: str | float | None, folder: Path | None) -> str | None:
    """Return a disk limit as text, in bytes: for a plan, which does not know the folder that a share is of.

    Raises:
        InputError: As in `disk_limit_of`.
    """
    limit = disk_limit_of(value, folder)
    return None if limit is None else f"{limit}B" if limit else "0"


def _there(folder: Path) -> Path:
    """Return a folder, or that in which it would be made."""
    whole = folder.absolute()
    return next((each for each in (whole, *whole.parents) if os.path.isdir(each)), whole)
