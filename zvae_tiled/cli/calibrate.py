"""`zvae calibrate`: measures this device once, for all later plans."""

from __future__ import annotations

import click

from zvae_tiled.cli.command import Command
from zvae_tiled.cli.options import quiet_option


@click.command(cls=Command, short_help="Measure this device, once.")
@click.option("--replace", is_flag=True, help="Store this run's speeds, also where a stored speed is higher.")
@quiet_option
def calibrate(replace: bool, quiet: bool) -> None:
    """Measure memory and speed of this device, and store the figures for the planner. Takes some 20 seconds.

    Each operation is run several times. Other programs that compute meanwhile are reported. A stored speed is kept if
    it is higher than the measured one, because a busy machine only looks slower.

    On a CPU each path of kernels is timed too. One that is faster than the chosen one is shown, here and by doctor.
    """
    from zvae_tiled.jobs.limits import calibrate as measure

    measured = measure(None if quiet else lambda line: click.echo(line, err=True), replace)
    compute, wide, memory, disk = (
        speed / 1e9 for speed in (measured.flops, measured.wide, measured.bandwidth, measured.disk)
    )
    click.echo(
        f"{measured.device} ({measured.kind}), MLX {measured.mlx}: {compute:,.1f} GFLOP/s in convolutions "
        f"({wide:,.1f} of float32), {memory:,.1f} GB/s in memory, {disk:,.2f} GB/s to disk; "
        f"a Step used up to {measured.margin:.2f} times the predicted memory"
    )
    for proposal in measured.proposals:
        click.echo(str(proposal))
