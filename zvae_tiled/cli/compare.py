"""`zvae compare`: measures how far a picture is from another, or a decode from the full decode."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from zvae_tiled.cli.bar import bar
from zvae_tiled.cli.command import Command
from zvae_tiled.cli.inputs import refuse_streams
from zvae_tiled.cli.options import (
    Limits,
    Model,
    Reading,
    check_sizes,
    latents_options,
    limit_options,
    quality_options,
    quiet_option,
    vae_options,
)
from zvae_tiled.cli.outputs import refuse_clashes
from zvae_tiled.cli.sources import load_vae, vae_sources
from zvae_tiled.errors import BudgetError
from zvae_tiled.inputs.pictures import as_floats, check_picture, read_picture, write_picture
from zvae_tiled.planner.budget import MOST_BYTES
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Quality
from zvae_tiled.wording import at_least, duration, size


@click.command(cls=Command, short_help="Compare two pictures, or a decode with the full one.")
@click.argument("first", metavar="A", type=click.Path())
@click.argument("second", metavar="B", required=False, type=click.Path())
@click.option(
    "--reference",
    type=click.Choice(["full"]),
    help="Decode the latents A with the other options, and compare the result with a full decode: whole maps, all kept "
    "in memory. Its cost is printed first. It is refused if it does not fit the available memory.",
)
@click.option(
    "--heat-map",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Draw the difference, with the tile grid over it. Black means no difference.",
)
@vae_options
@limit_options
@quality_options
@latents_options
@quiet_option
def compare(
    first: str,
    second: str | None,
    reference: str | None,
    heat_map: Path | None,
    model: Model,
    limits: Limits,
    quality: Quality,
    reading: Reading,
    quiet: bool,
) -> None:
    """Compare the pictures A and B. With --reference full, compare a decode of the latents A with their full decode.

    Pictures are files that Pillow reads (.png, .jpg, .webp, .tif), or .npy files of floats.
    """
    from zvae_tiled.report import metrics

    if (second is None) == (reference is None):
        raise click.UsageError("Give two pictures, or one file of latents and --reference full.")
    refuse_streams(first, second, None if heat_map is None else str(heat_map))
    if heat_map is not None:
        check_picture(heat_map)
        sources = () if reference is None else vae_sources(model.vae, model.config)
        refuse_clashes([heat_map], [*(Path(name) for name in (first, second) if name is not None), *sources])
    unused = _decode_options_typed() if reference is None else []
    if unused:
        problem = f"{', '.join(unused)} only changes how latents are decoded, and A and B are pictures."
        raise click.UsageError(f"{problem} Remove it, or give latents and --reference full.")
    plan = None
    if second is not None:
        ours, theirs = map(as_floats, _with_alpha(read_picture(first, alpha=True), read_picture(second, alpha=True)))
        if heat_map is not None:
            check_picture(heat_map, *ours.shape[-3:-1])
    else:
        ours, theirs, plan = _decoded(first, heat_map, model, limits, quality, reading, quiet)
    click.echo(f"PSNR        {metrics.psnr(ours, theirs):.1f} dB")
    click.echo(f"largest     {metrics.max_error(ours, theirs):.3g} of the range")
    shift = metrics.colour_shift(ours, theirs, plan)
    click.echo(f"colours     means moved by up to {shift.mean:.3g}, spreads by a factor of up to {shift.spread:.4g}")
    if plan is not None:
        seams = metrics.seam_score(ours, plan), metrics.seam_score(theirs, plan)
        click.echo(f"seams       {seams[0]:.2f}; the full decode has {seams[1]:.2f} at the same places")
    if heat_map is not None:
        write_picture(heat_map, metrics.heat_map(ours, theirs, plan))
        if not quiet:
            click.echo(f"written     {heat_map}", err=True)


def _with_alpha(*pictures: Any) -> Any:
    """Return pictures with their fourth channel, alpha, unless all of them are opaque."""
    opaque = all((picture[..., 3:] == (255 if picture.dtype == "uint8" else 1)).all() for picture in pictures)
    return [picture[..., :3] for picture in pictures] if opaque else pictures


def _decode_options_typed() -> list[str]:
    """Return the decode options that are on the command line."""
    ctx = click.get_current_context()
    others = ("first", "second", "reference", "heat_map", "quiet")
    names = [name for name in ctx.params if name not in others]
    typed = [name for name in names if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE]
    return [param.opts[0] for param in ctx.command.params if param.name in typed]


def _decoded(
    path: str, heat_map: Path | None, model: Model, limits: Limits, quality: Quality, reading: Reading, quiet: bool
) -> tuple[Any, Any, Plan]:
    from zvae_tiled.devices.here import available
    from zvae_tiled.inputs.latents import picture_shape, read_latents
    from zvae_tiled.jobs.orders import latents_of
    from zvae_tiled.order import Order
    from zvae_tiled.planner.full import full_plan
    from zvae_tiled.planner.storage import in_bytes

    vae = load_vae(model.vae, model.config, model.dtype)
    check_sizes(quality, vae.config)
    latents = latents_of(Order("decode", "", path, "", **asdict(reading)))
    batch, height, width, _ = picture_shape(vae.config, read_latents(latents, vae.config))
    if heat_map is not None:
        check_picture(heat_map, height, width)
    disk_limit = in_bytes(limits.disk_limit, None if limits.spill_folder is None else Path(limits.spill_folder))
    plan = vae.plan(height, width, limits.budget, batch, quality=quality, disk_limit=disk_limit)
    whole = full_plan(vae.plan(height, width, f"{MOST_BYTES}B", batch))
    if not quiet:
        click.echo(f"the decode takes {_cost(plan)}; the full decode {_cost(whole)}, if idle", err=True)
    memory = available(vae.weight_bytes)
    if whole.predicted_peak > memory.size:
        raise BudgetError(
            f"the full decode needs at least {at_least(whole.predicted_peak)}, {memory}",
            "Compare a smaller picture.",
            whole.predicted_peak,
        )
    pictures = []
    for name, each in ((path, plan), ("full decode", whole)):
        with bar(name, quiet) as listener:
            pictures.append(
                vae.decode(latents, "np", plan=each, progress=listener or False, spill_folder=limits.spill_folder)
            )
    return pictures[0], pictures[1], plan


def _cost(plan: Plan) -> str:
    return f"{duration(plan.predicted_seconds)} and {size(plan.predicted_peak)}"
