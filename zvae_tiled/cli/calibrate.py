"""`zvae calibrate`: measure this device once, for all plans to come."""

from __future__ import annotations

import click

from zvae_tiled.cli.command import Command
from zvae_tiled.cli.options import quiet_option


@click.command(cls=Command, short_help="Measure this device, once.")
@quiet_option
def calibrate(quiet: bool) -> None:
    """Measure memory and speed of this device, some 20 seconds, and keep the figures for the planner."""
    from zvae_tiled.jobs.limits import calibrate as measure

    found = measure(None if quiet else lambda line: click.echo(line, err=True))
    click.echo(
        f"{found.device} ({found.kind}), MLX {found.mlx}: {found.flops / 1e9:,.1f} GFLOP/s in convolutions, "
        f"{found.bandwidth / 1e9:,.1f} GB/s in memory, {found.disk / 1e9:,.2f} GB/s to disk; "
        f"memory of Steps up to {found.margin:.2f} of its prediction"
    )
