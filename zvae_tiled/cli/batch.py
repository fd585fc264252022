"""Several decodes or encodes by one command: all files are checked first, and a bad one does not stop the others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zvae_tiled.cli.again import CHANGES
from zvae_tiled.cli.bar import bar
from zvae_tiled.cli.command import SomeFailed, message_of
from zvae_tiled.cli.plans import write_plan
from zvae_tiled.errors import InputError, ZvaeError
from zvae_tiled.files.work_folder import is_work_folder, remove_command
from zvae_tiled.jobs.orders import shape_of, written
from zvae_tiled.order import Order, run

if TYPE_CHECKING:
    from zvae_tiled.report.report import Report
    from zvae_tiled.vae import VAE


@dataclass(frozen=True)
class Batch:
    """Decodes, or encodes, of one VAE.

    Attributes:
        orders: The orders that can be carried out, by the names of their inputs on the command line.
        files: All files that they write, and those that are left out because they exist.
        found: The shape of each order's pictures, and the files that it writes.
        bad: Why the other inputs cannot be decoded.
        quiet: Whether progress and reports are left out.
        argument: The command's argument that names the inputs.
        looks: Orders of quick looks that are written before the pictures.
    """

    orders: dict[str, Order]
    files: list[Path]
    found: dict[str, tuple[tuple[int, int, int, int], tuple[Path, ...]]]
    bad: dict[str, Exception]
    quiet: bool
    argument: str = "latents"
    looks: dict[str, Order] = field(default_factory=dict)

    def with_looks(self, looks: dict[str, Order], vae: VAE) -> Batch:
        """Return the batch with quick looks before its pictures. One that is there already may stay.

        Raises:
            OutputError: The file of one cannot be written.
        """
        paths = {name: written(replace(look, overwrite=True), vae) for name, look in looks.items()}
        kept = [name for name, look in looks.items() if not look.overwrite and all(map(os.path.lexists, paths[name]))]
        missing = {name: look for name, look in looks.items() if name not in kept}
        there = [looks[name].target for name in kept]
        for target in () if self.quiet else there:
            click.echo(f"early look {target} is there: it is not written again", err=True)
        files = [path for look in missing.values() for path in written(look, vae)]
        return replace(self, looks=missing, files=[*self.files, *files])

    def decode(self, vae: VAE, save_plan: Path | None, to_standard: bool) -> None:
        """Carry out all orders.

        Args:
            vae: The VAE of all orders.
            save_plan: Where the plan is written, if it is.
            to_standard: Whether the picture goes on to standard output, which says itself that it is written.

        Raises:
            SomeFailed: Of several, some could not be decoded.
        """
        failed = dict(self.bad)
        with self.counted() as done:
            for name, order in self.orders.items():
                try:
                    if name in self.looks:
                        self._look(vae, self.looks[name])
                    report = self._decode(vae, order, save_plan)
                except Exception as error:  # the device may run out of memory for this picture, but not for the next
                    self.tell(order.source, error)
                    failed[name] = error
                    continue
                done.append(name)
                if not self.quiet:
                    click.echo(report if to_standard else f"{report}\nwritten    {', '.join(order.targets)}", err=True)
        self.end(failed)

    @contextmanager
    def counted(self, least: str = "") -> Iterator[list[str]]:
        """Yield a list for the inputs that are done. If the block is interrupted, the error says how many are.

        Args:
            least: What precedes the number, if more may be done than the block knows of.
        """
        done: list[str] = []
        try:
            yield done
        except BaseException as error:  # Ctrl-C and SIGTERM too
            if len(self.orders) > 1:
                skips = click.get_current_context().params.get("skip_existing")
                rest = "The same command" if skips else "The same command with --skip-existing"
                count = f"{least}{len(done)} of {len(self.orders)}"
                error.add_note(f"{count} are done, and their files are kept. {rest} does the others.")
            raise

    @property
    def count(self) -> int:
        """The number of inputs, without those that are left out because their files exist."""
        return len(self.orders) + len(self.bad)

    def tell(self, source: str, error: Exception) -> None:
        """Print the error of one file of several. That of a single file is printed when the command ends."""
        if self.count > 1:
            tell(source, error)

    def end(self, failed: Mapping[str, Exception]) -> None:
        """Raise what failed, and let the command to try next name those files alone.

        Raises:
            SomeFailed: Of several, some failed.
        """
        if failed:
            click.get_current_context().meta[CHANGES] = {self.argument: list(failed)}
            done = "decoded" if self.argument == "latents" else "encoded"
            raise SomeFailed(failed, self.count, done) if self.count > 1 else next(iter(failed.values()))

    def _look(self, vae: VAE, look: Order) -> None:
        """Write a quick look. If that fails the picture is decoded all the same."""
        try:
            report = run(look, vae)
        except ZvaeError as error:
            click.echo(f"{look.target} is not written: {message_of(error)}", err=True)
        else:
            if not self.quiet:
                what = "exact, for it takes a second at most" if report.exact else f"not exact: {report.statistics}"
                click.echo(f"early look {look.target}, {what}", err=True)

    def _decode(self, vae: VAE, order: Order, save_plan: Path | None) -> Report:
        with bar(Path(order.source).name, self.quiet) as listener:
            report = run(order, vae, listener or False)
        if save_plan is not None:
            write_plan(save_plan, report.plan, order.overwrite)
        return report


def checked(orders: dict[str, Order], vae: VAE, skip_existing: bool, quiet: bool, argument: str = "latents") -> Batch:
    """Read all inputs and check all outputs, before hours of work.

    Args:
        orders: Orders by the names of their inputs on the command line.
        vae: The VAE of all orders. Its weights are not used.
        skip_existing: Whether to leave out an order whose files exist.
        quiet: Whether progress and reports are left out.
        argument: The command's argument that names the inputs.

    Raises:
        InputError: There is one input only, and it cannot be decoded.
        OutputError: A file cannot be written.
    """
    batch = Batch({}, [], {}, {}, quiet, argument)
    for name, order in orders.items():
        try:
            shape = shape_of(order, vae)
            paths = written(replace(order, overwrite=order.overwrite or skip_existing), vae, shape)
        except InputError as error:
            if len(orders) == 1:
                raise
            tell(order.source, error)
            batch.bad[name] = error
            continue
        batch.files.extend(paths)
        batch.found[name] = shape, paths
        if not (skip_existing and all(map(os.path.exists, paths))):
            batch.orders[name] = order
        elif not quiet:
            click.echo(f"skipped    {', '.join(order.targets)}: it exists{_left(order)}", err=True)
    return batch


def _left(order: Order) -> str:
    """Return what to say of the work folder of a picture that exists: its process may have been killed at the end."""
    if order.work is None or not is_work_folder(Path(order.work)):
        return ""
    return f". {order.work} is still there. If no other decode needs it: {remove_command(Path(order.work))}"


def tell(source: str, error: Exception) -> None:
    """Print the error of one file of several."""
    text = message_of(error)
    click.echo(text if source in text else f"{source}: {text}", err=True)
