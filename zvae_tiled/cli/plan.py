"""`zvae plan`: shows what a decode will cost. It needs no weights and no GPU, and MLX only with `-o`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click

from zvae_tiled.cli.amounts import warn_above_memory
from zvae_tiled.cli.command import Command
from zvae_tiled.cli.completion import config_names, vae_names
from zvae_tiled.cli.crowd import Crowd, crowd_options, crowd_plan
from zvae_tiled.cli.options import (
    SIZE,
    budget_option,
    check_sizes,
    disk_limit_option,
    dtype_option,
    group,
    quality_options,
    spill_option,
)
from zvae_tiled.cli.outputs import refuse_clashes
from zvae_tiled.cli.sources import config_sources, named_config, shape_name
from zvae_tiled.cli.writers import Files, files_options
from zvae_tiled.devices.named import DEVICE_NAMES
from zvae_tiled.errors import BudgetError, OutputError
from zvae_tiled.families import PRESETS
from zvae_tiled.files.atomic import check_place, write_text
from zvae_tiled.jobs.shapes import plan_from_shapes
from zvae_tiled.planner.budget import available_memory, parse_budget
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Exact, Quality
from zvae_tiled.planner.storage import in_bytes
from zvae_tiled.planner.summary import summary
from zvae_tiled.report.chart import line_chart
from zvae_tiled.wording import duration, rounded_up, size

BUDGETS = 8
"""Number of budgets that --sweep-budgets tries, from the smallest that works to that of the fastest plan."""


@dataclass(frozen=True)
class Picture:
    """The options that describe the decode to plan, as they were typed.

    Attributes:
        sides: Height and width in pixels.
        vae: ``--vae``.
        config: ``--config``.
        dtype: ``--dtype``.
        batch: ``--batch``.
        device: ``--device``.
    """

    sides: tuple[int, int]
    vae: str | None
    config: str | None
    dtype: str
    batch: int
    device: str | None


WRITER = (
    "The file's writer needs some more: that of a PNG about 1 MB for each core, of a JPEG the whole picture. "
    "Name the file with -o to count it."
)
"""Said below budgets if no file is named, for the smallest is that of rows, and zvae decode counts its writer."""


@dataclass(frozen=True)
class Disk:
    """The options for maps on disk, as they were typed.

    Attributes:
        disk_limit: ``--disk-limit``.
        spill_folder: ``--spill-folder``.
        work: ``--work``.
    """

    disk_limit: str | None
    spill_folder: str | None
    work: bool

    @property
    def place(self) -> Path | None:
        """The folder for maps; None for that of temporary files."""
        return None if self.spill_folder is None else Path(self.spill_folder)

    @property
    def limit(self) -> str | None:
        """The limit in bytes, for a share is one of the folder's disk."""
        return in_bytes(self.disk_limit, self.place)


@click.command(cls=Command, short_help="Show what a decode will cost.")
@group(
    "picture",
    Picture,
    sides=click.argument("sides", metavar="SIZE", type=SIZE),
    vae=click.option(
        "--vae",
        metavar="DIR|FILE|PRESET",
        shell_complete=vae_names,
        help=f"The VAE. Only its shape is read: a preset ({', '.join(PRESETS)}), demo, a config.json, or the VAE's "
        "folder. Default: $ZVAE_VAE, else z-image.",
    ),
    config=click.option(
        "--config",
        metavar="PRESET|FILE",
        shell_complete=config_names,
        help="The shape of a VAE without a config.json beside it.",
    ),
    dtype=dtype_option,
    batch=click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Pictures in the batch."),
    device=click.option(
        "--device",
        type=click.Choice(DEVICE_NAMES),
        help="cpu: this CPU. cpu/mlx: MLX alone. Default: MLX's device here.",
    ),
)
@group(
    "disk",
    Disk,
    disk_limit=disk_limit_option,
    spill_folder=spill_option,
    work=click.option(
        "--work", is_flag=True, help="Plan for zvae decode --work: all maps are stored on disk, to go on after a crash."
    ),
)
@files_options
@crowd_options
@budget_option
@quality_options
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON, for zvae decode --plan. With --sweep-budgets, print an array of plans.",
)
@click.option(
    "--plot",
    metavar="FILE.svg",
    type=click.Path(path_type=Path),
    help="Draw memory over the sweeps, and the budget, as SVG.",
)
@click.option(
    "--sweep-budgets", is_flag=True, help="Show what less memory costs in time, from the smallest budget that works."
)
@click.option(
    "--sweeps",
    "as_table",
    is_flag=True,
    help="Add a table of the sweeps: what each keeps in memory, spills to disk or computes again.",
)
def plan(
    picture: Picture,
    disk: Disk,
    files: Files,
    crowd: Crowd,
    budget: str | None,
    quality: Quality,
    plot: Path | None,
    as_json: bool,
    sweep_budgets: bool,
    as_table: bool,
) -> None:
    """Plan the decode of a picture of SIZE: WIDTHxHEIGHT in pixels.

    Prints predicted memory, disk and time, what the time is made of, and what would make it cheaper.
    """
    other = {
        "--quality": quality != Exact(),
        "--batch": picture.batch > 1,
        "--output": bool(files.outs),
        "--bits": files.bits is not None,
        "--disk-limit": disk.disk_limit is not None,
        "--spill-folder": disk.spill_folder is not None,
        "--work": disk.work,
        "--json": as_json,
        "--plot": plot is not None,
        "--sweep-budgets": sweep_budgets,
        "--sweeps": as_table,
    }
    crowd.check(other)
    warn_above_memory(budget, picture.device)
    config = named_config(picture.vae, picture.config)
    check_sizes(quality, config, picture.sides)
    if crowd.workers is not None:
        size_of = parse_budget(budget, available_memory())
        click.echo(_vae(picture))
        click.echo(crowd_plan(config, picture.sides, size_of, picture.dtype, picture.device, crowd))
        return
    if as_table and (as_json or sweep_budgets):
        raise click.UsageError("--sweeps adds a table to one plan's text: remove --json and --sweep-budgets.")
    if disk.place is not None and "%" not in (disk.disk_limit or "") and (as_json or sweep_budgets):
        raise click.UsageError(
            "--spill-folder is for one plan's text, or for a share in --disk-limit: remove --json and --sweep-budgets."
        )
    if plot is not None and plot.suffix.lower() != ".svg":
        raise OutputError(f"--plot draws SVG, but {plot} has another ending", "Name a file that ends in .svg.")
    files.check(picture.batch, disk.work)
    if plot is not None:
        check_place(plot)
    written = [*files.written, *([] if plot is None else [plot])]
    if written:
        refuse_clashes(written, config_sources(picture.vae, picture.config))
    if sweep_budgets:
        if budget is not None:
            raise click.UsageError("--sweep-budgets tries its own budgets: remove --budget.")
        if quality != Exact():
            raise click.UsageError("--sweep-budgets works for exact decodes only: remove --quality.")
        plans = swept(picture, disk, files)
        text = "[" + ",\n".join(each.to_json() for each in plans) + "]" if as_json else "\n".join(table(plans))
        text += f"\n{files.line(plans[0]) if files.outs else WRITER}" if not as_json else ""
        chart = trade(plans)
    else:
        decode_plan = _plan(picture, disk, files, quality, budget)
        text, chart = decode_plan.to_json() if as_json else summary(decode_plan, disk.place), sweeps(decode_plan)
        text += f"\n{files.line(decode_plan)}" if files.outs and not as_json else ""
        text += f"\n\n{decode_plan.table()}" if as_table else ""
    if plot is not None:
        write_text(plot, chart)
        click.echo(f"written    {plot}", err=True)
    click.echo(text if as_json else f"{_vae(picture)}\n{text}")


def _vae(picture: Picture) -> str:
    """Return a line that names the VAE, and where its name comes from if it was not typed."""
    name, why = shape_name(picture.vae, picture.config)
    return f"vae        {name}{f', {why}' if why else ''}"


def swept(picture: Picture, disk: Disk, files: Files) -> list[Plan]:
    """Return plans from the smallest budget that works to the fastest plan. Equal neighbours are dropped."""
    fastest = _plan(picture, disk, files, Exact(), "1000TB")
    try:
        _plan(picture, disk, files, Exact(), "1B")
    except BudgetError as error:
        least = error.needed
    ratio = fastest.predicted_peak / least
    budgets = [int(least * ratio ** (step / (BUDGETS - 1))) for step in range(BUDGETS - 1)]
    plans = [*(_plan(picture, disk, files, Exact(), f"{budget}B") for budget in budgets), fastest]
    return plans[:1] + [after for each, after in pairwise(plans) if after.digest != each.digest]


def table(plans: list[Plan]) -> list[str]:
    """Return the lines of a table, one per plan, below a head."""
    lines = [f"{'budget':>12}  {'predicted':>12}  {'on disk':>12}  {'recomputed':>10}  {'time':>8}"]
    for each in plans:
        # The fastest plan had a budget without effect: show what it uses instead. Rounded up, so that it can be typed.
        budget = min(each.budget, max(other.predicted_peak for other in plans))
        sizes = "  ".join(f"{size(bytes_):>12}" for bytes_ in (each.predicted_peak, each.spilled))
        lines.append(
            f"{rounded_up(budget, 3):>12}  {sizes}  {each.extra_flops:>10.0%}  {duration(each.predicted_seconds):>8}"
        )
    return lines


def trade(plans: list[Plan]) -> str:
    """Return a chart of time over memory."""
    line = [(each.predicted_peak / 1e6, each.predicted_seconds) for each in plans]
    return line_chart("Time against memory, predicted", "MB", "seconds", {"exact": line})


def sweeps(decode_plan: Plan) -> str:
    """Return a chart of memory over time, sweep by sweep, and the budget."""
    line, seconds = [(0.0, 0.0)], 0.0
    for sweep in decode_plan.sweeps:
        line += [(seconds, sweep.peak / 1e6), (seconds + sweep.seconds, sweep.peak / 1e6)]
        seconds += sweep.seconds
    lines = {"predicted, of each sweep": line}
    if decode_plan.budget <= 10 * decode_plan.predicted_peak:
        budget = decode_plan.budget / 1e6
        lines[f"budget, {budget:,.0f} MB"] = [(0.0, budget), (seconds, budget)]
    return line_chart(f"Memory of plan {decode_plan.digest}, weights included", "seconds, predicted", "MB", lines)


def _plan(picture: Picture, disk: Disk, files: Files, quality: Quality, budget: str | None) -> Plan:
    config = named_config(picture.vae, picture.config)
    return plan_from_shapes(
        config,
        *picture.sides,
        budget,
        batch=picture.batch,
        dtype=picture.dtype,
        device=picture.device,
        task="stream",
        quality=quality,
        disk_limit=disk.limit,
        work=disk.work,
        output=files.paths or None,
        bits=files.depth,
    )
