"""Text for messages: bytes, times and work in units that people use, and lists that show only a few names."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import datetime, timedelta

MOST = 20
"""The most names that a message lists. The rest is counted."""

LETTERS = 120
"""The most characters of a name that a message shows, because names come from files."""

SAME = {"decode": "same pixels as a full decode", "encode": "same latents as a full encode"}
"""What an exact decode or encode gives."""

LONG, YEAR = 600, 3e7
"""From ten minutes to a year to go, a line of progress says at what time that is."""

_UNITS = ((10**18, "EB"), (10**15, "PB"), (10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))

_TIMES = (("s", 1, 99.5), ("min", 60, 99.5), ("h", 3600, 99.5), ("days", 86400, 999.5), ("years", 31_557_600, 1e300))
"""Units of time: name, seconds, and the most that are written in it."""


def listed(names: Iterable[object], most: int = MOST) -> str:
    """Join names with commas. If there are more than `most`, count the rest: "a, b and 7 more"."""
    texts = [str(name) for name in names]
    shown = ", ".join(text if len(text) <= LETTERS else text[: LETTERS - 1] + "…" for text in texts[:most])
    return shown + (f" and {len(texts) - most:,} more" if len(texts) > most else "")


def operand(name: object) -> str:
    """Write a name at the end of a shell's command: quoted, and behind `--` if it would be taken for an option."""
    quoted = shlex.quote(str(name))
    return f"-- {quoted}" if str(name).startswith("-") else quoted


def counted(count: int, name: str) -> str:
    """Write how many of something there are: 1 worker, 1,024 workers."""
    return f"{count:,} {name}{'s' * (count != 1)}"


def size(count: float) -> str:
    """Write a number of bytes with a decimal unit: 340 MB, 1.54 GB."""
    for unit, name in _UNITS:
        if count >= 0.9995 * unit:
            value = count / unit
            return f"{value:,.0f} {name}" if value >= 99.95 or unit == 10**3 else f"{value:.3g} {name}"
    return f"{count:.0f} bytes"


def rounded_up(count: int, digits: int = 2) -> str:
    """Write a number of bytes rounded up to some digits: "5.2 GB" is enough where 5.11 GB are needed."""
    step = 10 ** max(0, len(str(count)) - digits)
    return size(-(-count // step) * step)


def duration(seconds: float) -> str:
    """Write a time with about two digits: 0.35 s, 37 s, 25 min, 32 h."""
    name, unit = next((name, unit) for name, unit, most in _TIMES if seconds < most * unit)
    value = seconds / unit
    return f"{value:,.0f} {name}" if 9.95 <= value < 1e6 else f"{round(value, 3):.2g} {name}"


def clock(seconds: float) -> str:
    """Write a time as hours, minutes and seconds: 0:01:01, 32:09:51."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def moment(then: datetime, now: datetime) -> str:
    """Write when something ends: 17:05 today, Fri 17:05 in the next days, 3 Dec 17:05 later."""
    days = (then.date() - now.date()).days
    day = "" if days == 0 else f"{then:%a} " if days < 7 else f"{then.day} {then:%b} "
    return f"{day}{then:%H:%M}"


def until(seconds: float) -> str:
    """Write at what time work of some seconds ends: until 17:05. Of short work, or of one without an end, nothing."""
    if not LONG <= seconds <= YEAR:
        return ""
    now = datetime.now().astimezone()  # with its zone: the clocks may be changed before the end
    return f"until {moment((now + timedelta(seconds=seconds)).astimezone(), now)}"


def in_one_unit(*counts: int) -> list[str]:
    """Return numbers of bytes in the unit of the largest, without it and with as many digits each; then the unit."""
    unit, name = next(((unit, name) for unit, name in _UNITS if max(counts) >= unit), (1, "bytes"))
    digits = max(0, 3 - len(str(max(counts) // unit))) if unit > 1 else 0
    return [*(f"{count / unit:,.{digits}f}" for count in counts), name]


def operations(count: float) -> str:
    """Write a number of multiplications and additions: 618 GFLOP, 36.6 PFLOP."""
    power = next((power for power in range(2, 8) if count < 999.5 * 1000**power), 8)
    return f"{count / 1000**power:.3g} {'MGTPEZY'[power - 2]}FLOP"


def at_least(count: int) -> str:
    """Write a number of bytes rounded up to whole MB."""
    return f"{-(-count // 10**6):,} MB"


def budget_of(count: int) -> str:
    """Write a budget of at least `count` bytes, in the form that `parse_budget` reads: "413MB"."""
    return f"{-(-count // 10**6)}MB"
