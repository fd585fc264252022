"""`zvae benchmark`: what this machine does, in a file its owner may send."""

from __future__ import annotations

from pathlib import Path

import click

from zvae_tiled.cli.command import Command
from zvae_tiled.cli.options import quiet_option
from zvae_tiled.cli.outputs import refuse_clashes
from zvae_tiled.files.atomic import check_place


@click.command(cls=Command, short_help="Measure decodes on this machine, for the project's figures.")
@click.option(
    "--submit-file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("zvae-benchmark.json"),
    show_default=True,
    help="Where the figures go; send the file with an issue or a pull request, if you like.",
)
@click.option(
    "--seconds",
    type=click.IntRange(min=10),
    default=300,
    show_default=True,
    help="How long to measure: larger pictures are left out when the time is over.",
)
@quiet_option
def benchmark(submit_file: Path, seconds: int, quiet: bool) -> None:
    """Decode random latents by random weights of Z-Image's size: time and memory, predicted beside measured.

    Nothing is downloaded, and nothing is sent: the file names no user, no host and no path.
    """
    check_place(submit_file)
    refuse_clashes([submit_file], [])
    from zvae_tiled.report.figures import self_benchmark, write

    say = (lambda _: None) if quiet else (lambda line: click.echo(line, err=True))
    write(self_benchmark(float(seconds), say), submit_file)
    click.echo(f"The figures are in {submit_file}.")
