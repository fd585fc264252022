"""Amounts of bytes as they are typed: checked with the other options, and compared with this machine's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from zvae_tiled.devices.table import likely_device
from zvae_tiled.errors import InputError
from zvae_tiled.planner.budget import Available, is_share, machine_memory, parse_budget
from zvae_tiled.planner.storage import disk_limit_of
from zvae_tiled.wording import size


class Amount(click.ParamType[str]):
    """An amount of bytes. The value stays the text, which the library reads again where it is used."""

    name = "AMOUNT"

    def __init__(self, read: Callable[[str], object], wanted: str) -> None:
        """Take what reads the text, and what to say of a text that it refuses."""
        self._read = read
        self._wanted = wanted

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the text."""
        try:
            self._read(str(value))
        except InputError as refused:
            other = refused.problem if "did you mean" in refused.problem else f"{value!r:.40} is no {self._wanted}"
            self.fail(other, param, ctx)
        return str(value)


MEMORY = Amount(
    lambda text: parse_budget(text, Available(1 << 40)),
    "amount of memory above 0. Write 8GB (or 8), 500MB, or 60% of the memory available now.",
)
DISK = Amount(disk_limit_of, "amount of disk, 0 or more. Write 200GB (or 200), 0, or 50% of the free space.")


def warn_above_memory(budget: str | None, device: str | None = None) -> None:
    """Print a warning if a budget is more than all memory of this machine.

    Args:
        budget: The budget as it was typed. A share of the memory is never more.
        device: The device that is planned for. One that is not of this machine has other memory. Default: this one.
    """
    if budget is None or is_share(budget):
        return
    kind = likely_device()
    if kind == "cuda" or (device or kind).partition("/")[0] != kind:  # a card has its own memory
        return
    named, there = parse_budget(budget, Available(0)).size, machine_memory()
    if named > there.size:
        told = f"the budget is {size(named)}, but this machine has {size(there.size)} of memory"
        click.echo(f"warning    {told}{f' ({there.limit})' if there.limit else ''}", err=True)
