"""`zvae benchmark`: measures this machine, and writes a file that its owner may send."""

from __future__ import annotations

from pathlib import Path

import click

from zvae_tiled.cli.command import Command
from zvae_tiled.cli.options import quiet_option
from zvae_tiled.cli.outputs import refuse_as_file, refuse_clashes
from zvae_tiled.files.atomic import check_place


@click.command(cls=Command, short_help="Measure decodes on this machine, for the project's figures.")
@click.option(
    "--submit-file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("zvae-benchmark.json"),
    show_default=True,
    help="The file for the figures. You may attach it to an issue or a pull request.",
)
@click.option(
    "--seconds",
    type=click.IntRange(10, 1_000_000),
    default=300,
    show_default=True,
    help="How long to measure. Sizes that would not finish in time are skipped.",
)
@quiet_option
def benchmark(submit_file: Path, seconds: int, quiet: bool) -> None:
    """Decode random latents with random weights of Z-Image's size, and record predicted and measured time and memory.

    Prints the figures, and writes them to a file.
    Nothing is downloaded or sent. The file contains no user name, no host name and no path.
    """
    refuse_as_file("--submit-file", submit_file)
    check_place(submit_file)
    refuse_clashes([submit_file], [])
    from zvae_tiled.report.figures import self_benchmark, write
    from zvae_tiled.report.rows import lines_of

    say = (lambda _: None) if quiet else (lambda line: click.echo(line, err=True))
    figures = self_benchmark(float(seconds), say)
    try:  # whatever becomes of one of the two, minutes of measuring are not lost
        for line in lines_of(figures["rows"]):
            click.echo(line)
    finally:
        write(figures, submit_file)
    click.echo(f"The figures are in {submit_file}.")
