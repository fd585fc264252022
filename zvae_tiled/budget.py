"""Budgets: what people write, as bytes; and what this machine has. Imports no MLX."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import psutil

from zvae_tiled.errors import InputError

UNITS = {
    "b": 1,
    **{f"{p}b": 1000**n for n, p in enumerate("kmgt", 1)},
    **{f"{p}ib": 1024**n for n, p in enumerate("kmgt", 1)},
}

SAFE_SHARE = 0.7
"""Of what is available, when nobody named a budget: other programs grow too."""


@dataclass(frozen=True)
class Budget:
    """Bytes a decode may use.

    Attributes:
        size: The bytes.
        named: Somebody named them; otherwise they follow from what is available.
        source: Where they come from, in words.
    """

    size: int
    named: bool
    source: str


def parse_budget(value: str | float | None, available: int) -> Budget:
    """Read a budget.

    Args:
        value: "8GB", "512MiB"; a number of GB; "60%" of what is available now; None for a safe share of that.
        available: Bytes available now.

    Raises:
        InputError: It is no amount of memory above zero.
    """
    if value is None:
        size = int(available * SAFE_SHARE)
        return Budget(size, named=False, source=f"{SAFE_SHARE:.0%} of {available:,} bytes available")
    if isinstance(value, bool) or not isinstance(value, str | Real):
        raise _refused(value)
    text = str(value).strip().lower()
    if isinstance(value, Real):
        text += "gb"
    match = re.fullmatch(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([kmgt]i?b|b|%)", text)
    if match is None:
        raise _refused(value)
    try:
        number = float(match[1])
    except ValueError:
        raise _refused(value) from None
    if match[2] == "%":
        if not 0 < number <= 100:
            raise _refused(value)
        return Budget(
            int(available * number / 100), named=False, source=f"{number:g}% of {available:,} bytes available"
        )
    size = number * UNITS[match[2]]
    if not math.isfinite(size) or size < 1 or size > 1 << 62:
        raise _refused(value)
    return Budget(int(size), named=True, source=f"named as {value!r}")


def available_memory() -> int:
    """Return the bytes this process could still take: the machine's, or its container's if that is less."""
    available = int(psutil.virtual_memory().available)
    limit = _container_limit()
    if limit is not None:
        available = min(available, max(0, limit - psutil.Process().memory_info().rss))
    return available


def _container_limit() -> int | None:
    # cgroup v2, then v1; "max" and v1's huge number both mean none.
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(place).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < 1 << 60:
            return int(text)
    return None


def _refused(value: object) -> InputError:
    return InputError(
        f"a budget must be an amount of memory above 0, it is {value!r}",
        'Write "8GB", "512MiB", 8.0 (GB), "60%" (of what is available now), or None for a safe share.',
    )
