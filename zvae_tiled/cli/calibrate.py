"""`zvae calibrate`: measures this device once, for all later plans."""

from __future__ import annotations

import click

from zvae_tiled.cli.command import Command
from zvae_tiled.cli.options import quiet_option


@click.command(cls=Command, short_help="Measure this device, once.")
@click.option("--replace", is_flag=True, help="Store this run's speeds, also where a stored speed is higher.")
@quiet_option
def calibrate(replace: bool, quiet: bool) -> None:
    """Measure memory and speed of this device, and store the figures for the planner. Takes some 40 seconds.

    Each operation is run several times. Other programs that compute meanwhile are reported. A stored speed is kept if
    it is higher than the measured one, because a busy machine only looks slower.

    On a CPU each path of kernels is timed too. One that is faster than the chosen one is shown, here and by doctor.
    """
    from zvae_tiled.jobs.limits import calibrate as measure
    from zvae_tiled.planner.better import listed

    measured = measure(None if quiet else lambda line: click.echo(line, err=True), replace)
    click.echo(f"{measured.device} ({measured.kind}), MLX {measured.mlx}")
    for line in listed(measured):
        click.echo(line)
    click.echo(f"a Step used up to {measured.margin:.2f} times the predicted memory")
    for proposal in measured.proposals:
        click.echo(str(proposal))
