"""Budgets: reads "8GB" or "60%" as bytes, and measures the memory this machine has available. No MLX."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import psutil

from zvae_tiled.checks import shown
from zvae_tiled.devices.cgroup import PROC, memory_left, memory_limit
from zvae_tiled.errors import InputError

UNITS = {
    "b": 1,
    **{f"{p}b": 1000**n for n, p in enumerate("kmgt", 1)},
    **{p: 1000**n for n, p in enumerate("kmgt", 1)},
    **{f"{p}ib": 1024**n for n, p in enumerate("kmgt", 1)},
}

SAFE_SHARE = 0.7
"""Share of the available memory that is the default budget. The rest is left for other programs to grow."""

MOST_BYTES = 1 << 62
"""The largest budget."""

IN_BYTES = "set in bytes"
"""The source of a budget such as "5000000B", which no one reads: its size is said beside it."""

MOST_GB = 1_000_000
"""A budget in GB must be below this. It is a constant, because a plan can be made for a larger machine."""


@dataclass(frozen=True)
class Available:
    """Memory that can be used now.

    Attributes:
        size: The bytes.
        limit: The limit that sets `size`, in words; empty if it is the free memory of the machine.
    """

    size: int
    limit: str = ""

    def __str__(self) -> str:
        """Render as text: "210 MB available (memory limit of this container)"."""
        size = f"{self.size / 1e9:,.1f} GB" if self.size >= 1e9 else f"{self.size / 1e6:,.0f} MB"
        return f"{size} available{f' ({self.limit})' if self.limit else ''}"


@dataclass(frozen=True)
class Budget:
    """Bytes a decode may use.

    Attributes:
        size: The bytes.
        source: Where they come from, in words.
    """

    size: int
    source: str


def parse_budget(value: str | float | None, available: Available) -> Budget:
    """Read a budget.

    Args:
        value: "8GB", "500MB", a number of GB (8 or "8"), or "60%" of the available memory. None: `SAFE_SHARE` of it.
        available: The memory available now.

    Raises:
        InputError: `value` is not an amount of memory above zero, or is a number of bytes instead of GB.
    """
    if value is None:
        return Budget(int(available.size * SAFE_SHARE), f"{SAFE_SHARE:.0%} of {available}")
    return amount(value, available)


def is_share(value: object) -> bool:
    """Return whether a budget is a share of the memory that is free as a plan is made: in per cent, or the default."""
    return value is None or (isinstance(value, str) and value.strip().endswith("%"))


def amount(value: str | float, available: Available) -> Budget:
    """Read an amount of bytes, in any form that `parse_budget` reads.

    Raises:
        InputError: As in `parse_budget`.
    """
    if isinstance(value, bool) or not isinstance(value, str | Real):
        raise _refused(value)
    try:
        text = str(value).strip().lower()
    except ValueError:  # Python writes no number of thousands of digits
        raise _refused(value) from None
    match = re.fullmatch(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([kmgt]i?b|[kmgt]|b|%|)", text)
    if match is None:
        raise _refused(value)
    try:
        number = float(match[1])
    except ValueError:
        raise _refused(value) from None
    unit = match[2] or "gb"
    if not match[2] and MOST_GB <= number < MOST_GB * 10**9:
        raise _bytes_as_gb(number)
    if unit == "%":
        if not 0 < number <= 100:
            raise _refused(value)
        return Budget(int(available.size * number / 100), f"{number:g}% of {available}")
    size = number * UNITS[unit]
    if not math.isfinite(size) or size < 1 or size > MOST_BYTES:
        raise _refused(value)
    return Budget(int(size), IN_BYTES if unit == "b" else f"set as {value!r}")


def available_memory(proc: Path = PROC) -> Available:
    """Return the memory this process can still take: the free memory of the machine, or of its container if less.

    Args:
        proc: The folder of the process in ``/proc``.
    """
    free, left = int(psutil.virtual_memory().available), memory_left(proc)
    return Available(free) if left is None or left >= free else Available(left, "memory limit of this container")


def machine_memory(proc: Path = PROC) -> Available:
    """Return all memory of this machine, also what is in use now, or the limit of its container if that is less.

    Args:
        proc: The folder of the process in ``/proc``.
    """
    total, limit = int(psutil.virtual_memory().total), memory_limit(proc)
    return Available(total) if limit is None or limit >= total else Available(limit, "memory limit of this container")


def _bytes_as_gb(number: float) -> InputError:
    return InputError(
        f"a number is an amount in GB, and no machine has {number:,.0f} GB: "
        f"did you mean {number / 1e9:.10g} (GB), or '{int(number)}B'?"
    )


def _refused(value: object) -> InputError:
    return InputError(
        f"a budget must be an amount of memory above 0, it is {shown(value)}",
        f'Write "8GB", "500MB", 8.0 (GB), "60%" (of the memory available now), or None for {SAFE_SHARE:.0%} of it.',
    )
