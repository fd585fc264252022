"""One picture by many processes: the option ``--stripes``."""

from __future__ import annotations

from pathlib import Path

import click

from zvae_tiled.cli.bar import bar
from zvae_tiled.cli.batch import Batch
from zvae_tiled.cli.machines import Machines

stripes_option = click.option(
    "--stripes",
    is_flag=True,
    help="Use all workers for one picture: each computes stripes of its rows. The file is the same to the byte. It "
    "needs --workers or --cluster, and no manifest is written.",
)


def check_stripes(machines: Machines, count: int) -> None:
    """Refuse ``--stripes`` without workers, or for several files.

    Raises:
        click.UsageError: There are no workers, or several files.
    """
    if not machines.asked:
        raise click.UsageError("--stripes: one process computes no stripes. Add --workers or --cluster.")
    if count > 1:
        raise click.UsageError(f"--stripes is for one picture, not {count}: name one file, or remove it.")


def carry_out_striped(batch: Batch, machines: Machines) -> None:
    """Carry out the one order of a batch on all workers, each of which computes a stripe.

    Raises:
        ZvaeError: It cannot be carried out.
    """
    from zvae_tiled.cluster.striped import check_striped, run_striped

    for order in batch.orders.values():  # one, or none if its file exists
        check_striped(order)
        with bar(Path(order.source).name, batch.quiet) as listener, machines.client() as client:
            report = run_striped(order, client, progress=listener or False, allow=machines.allow)
        if not batch.quiet:
            click.echo(f"{report}\nwritten    {', '.join(order.targets)}", err=True)
