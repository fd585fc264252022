"""`Part`: one thing that the campaign tries many times. `Case`: one of these times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from random import Random
from typing import TypeVar

from tests.campaign import rows

First = TypeVar("First")
Second = TypeVar("Second")

PATIENCE = 900.0
"""Seconds after which a case hangs. Its process may be stopped for minutes by others who share the machine."""


@dataclass(frozen=True)
class Case:
    """One case. Everything random in it is drawn from `rng`.

    Attributes:
        number: Its number in the part, from 0.
        rng: A source of its own, from the run's seed and its number.
        folder: An empty folder. What is left in it is removed.
        seed: The run's seed.
    """

    number: int
    rng: Random
    folder: Path
    seed: int = 0

    def pair(self, first: Sequence[First], second: Sequence[Second]) -> tuple[First, Second]:
        """Return a pair of both for a part that tries pairs: in one run none twice, until all were tried."""
        turn, which = divmod(self.number, len(first))
        order = Random(f"{self.seed} {which}").sample(range(len(second)), len(second))
        return first[which], second[order[turn % len(second)]]


@dataclass(frozen=True)
class Part:
    """One line of the table.

    Attributes:
        name: Its name in the command: ``python -m tests.campaign row/name``.
        what: What is tried, as the page says it.
        aim: How many must be tried before a release; if `timed`, for how many minutes.
        sample: How many `--sample` tries, in at most half a minute for a whole row; 0: none.
        attempt: Tries one case, in a process that may crash; raises what is wrong. It returns how many things it tried,
            where that is not one.
        patience: Seconds after which a case hangs.
        needs: What the machine must have, in words.
        possible: Whether this machine has it.
        timed: Whether the aim is minutes.
    """

    name: str
    what: str
    aim: int
    sample: int
    attempt: Callable[[Case], int | None]
    patience: float = PATIENCE
    needs: str = "nothing"
    possible: Callable[[], bool] = lambda: True
    timed: bool = False


def all_rows() -> list[str]:
    """Return the names of all rows."""
    return sorted(module.name for module in iter_modules(rows.__path__))


def parts_of(row: str) -> tuple[Part, ...]:
    """Return the parts of a row; or those of `tests.campaign.planted`, whose faults must be found."""
    parts: tuple[Part, ...] = import_module(row if "." in row else f"{rows.__name__}.{row}").PARTS
    return parts


def rng_of(row: str, part: str, seed: int, number: int) -> Random:
    """Return the source of random numbers of a case."""
    return Random(f"{row}/{part} {seed} {number}")
