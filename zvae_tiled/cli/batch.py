"""Several decodes by one command: all files are checked first, and one that fails does not stop the others."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zvae_tiled.cli.again import CHANGES
from zvae_tiled.cli.bar import bar
from zvae_tiled.cli.command import SomeFailed, message_of
from zvae_tiled.cli.plans import write_plan
from zvae_tiled.errors import InputError
from zvae_tiled.order import Order, run, written

if TYPE_CHECKING:
    from zvae_tiled.report.report import Report
    from zvae_tiled.vae import VAE


@dataclass(frozen=True)
class Batch:
    """Decodes of one VAE.

    Attributes:
        orders: The orders that can be carried out, by the names of their inputs on the command line.
        files: All files that they write, and those that are left out because they exist.
        bad: Why the other inputs cannot be decoded.
        quiet: Whether progress and reports are left out.
    """

    orders: dict[str, Order]
    files: list[Path]
    bad: dict[str, Exception]
    quiet: bool

    def decode(self, vae: VAE, save_plan: Path | None, shown: str | None) -> None:
        """Carry out all orders.

        Args:
            vae: The VAE of all orders.
            save_plan: Where the plan is written, if it is.
            shown: What the report calls the target. Default: its path.

        Raises:
            SomeFailed: Of several, some could not be decoded.
        """
        count, failed = len(self.orders) + len(self.bad), dict(self.bad)
        for name, order in self.orders.items():
            try:
                report = self._decode(vae, order, save_plan)
            except Exception as error:  # the device may run out of memory for this picture, but not for the next
                if count > 1:
                    tell(order.source, error)
                failed[name] = error
                continue
            if not self.quiet:
                click.echo(f"{report}\nwritten    {shown or ', '.join(order.targets)}", err=True)
        if failed:
            click.get_current_context().meta[CHANGES] = {"latents": list(failed)}
            raise SomeFailed(failed, count) if count > 1 else next(iter(failed.values()))

    def _decode(self, vae: VAE, order: Order, save_plan: Path | None) -> Report:
        with bar(Path(order.source).name, self.quiet) as listener:
            report = run(order, vae, listener or False)
        if save_plan is not None:
            write_plan(save_plan, report.plan, order.overwrite)
        return report


def checked(orders: dict[str, Order], vae: VAE, skip_existing: bool, quiet: bool) -> Batch:
    """Read all inputs and check all outputs, before hours of work.

    Args:
        orders: Orders by the names of their inputs on the command line.
        vae: The VAE of all orders.
        skip_existing: Whether to leave out an order whose files exist.
        quiet: Whether progress and reports are left out.

    Raises:
        InputError: There is one input only, and it cannot be decoded.
        OutputError: A file cannot be written.
    """
    batch = Batch({}, [], {}, quiet)
    for name, order in orders.items():
        try:
            paths = written(replace(order, overwrite=order.overwrite or skip_existing), vae)
        except InputError as error:
            if len(orders) == 1:
                raise
            tell(order.source, error)
            batch.bad[name] = error
            continue
        batch.files.extend(paths)
        if not (skip_existing and all(map(os.path.exists, paths))):
            batch.orders[name] = order
        elif not quiet:
            click.echo(f"skipped    {', '.join(order.targets)}: it exists", err=True)
    return batch


def tell(source: str, error: Exception) -> None:
    """Print the error of one file of several."""
    text = message_of(error)
    click.echo(text if source in text else f"{source}: {text}", err=True)
