"""`zvae demo`: the whole of it, with nothing but this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zvae_tiled.cli.bar import bar
from zvae_tiled.cli.command import Command
from zvae_tiled.cli.options import quiet_option
from zvae_tiled.cli.outputs import refuse_clashes
from zvae_tiled.cli.sources import DEMO, load_vae, vae_sources
from zvae_tiled.errors import BudgetError
from zvae_tiled.wording import budget_of

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE

LATENTS = "album"

SIDES = {"gpu": 2048, "native": 1024, "fast": 768, "slow": 512}
"""Pixels a side that take some 20 seconds: on a GPU; on a CPU by native kernels, by a fast BLAS, and by MLX's own."""

SPARE = 1.2
"""Of the smallest budget that works: tight, and yet no map has to be read a row at a time."""


@click.command(cls=Command, short_help="Decode a large picture that comes with this package.")
@click.option(
    "--output",
    "-o",
    "out",
    default="demo.png",
    show_default=True,
    metavar="FILE",
    type=click.Path(),
    help="Where the picture goes.",
)
@click.option(
    "--budget", metavar="AMOUNT", help="Memory it may use. Default: a fifth more than the smallest that works."
)
@click.option(
    "--size",
    type=click.IntRange(64, 2048),
    metavar="PIXELS",
    help="How much of the picture, of 2048 pixels a side. Default: what this device does in some 20 seconds.",
)
@quiet_option
def demo(out: str, budget: str | None, size: int | None, quiet: bool) -> None:
    """Decode a large picture that comes with the package, by the small VAE that does too, in a tight budget.

    It shows the plan, the progress, and predicted beside measured, compares with the full decode, and writes the PNG.
    """
    from zvae_tiled.demo import latents, path

    refuse_clashes([Path(out)], [path(LATENTS), *vae_sources(DEMO, None)])
    say = (lambda *_: None) if quiet else click.echo
    vae = load_vae(DEMO, None, "float32")
    side = size or SIDES[_speed()]
    middle = _middle(latents(LATENTS), side // vae.config.scale)
    height, width = (cells * vae.config.scale for cells in middle.shape[2:])
    plan = vae.plan(height, width, budget or _tight(vae, height, width), task="stream")
    say(f"The plan, made from shapes alone, before any work:\n\n{plan}\n")
    with bar(LATENTS, quiet) as listener:
        report = vae.decode_to_file(middle, out, plan=plan, progress=listener or False)
    say(f"Predicted beside measured:\n\n{report}\n")
    say(_compared(vae, _middle(middle, middle.shape[2] // 2)))
    if size is None and side < SIDES["gpu"]:
        say(f"\nThis is the middle of a larger picture: --size {SIDES['gpu']} decodes all of it.")
        say("zvae doctor tells what would make this machine faster.")
    say(f"\nThe picture is in {out}.")


def _speed() -> str:
    from zvae_tiled.devices.blas import preload
    from zvae_tiled.devices.here import device_kind
    from zvae_tiled.devices.native_cpu.choice import MLX, native_status

    if device_kind() != "cpu":
        return "gpu"
    if native_status().path != MLX:
        return "native"
    return "fast" if preload().active else "slow"


def _middle(latents: Any, side: int) -> Any:
    top, left = ((cells - side) // 2 for cells in latents.shape[2:])
    return latents[:, :, top : top + side, left : left + side]


def _tight(vae: VAE, height: int, width: int) -> str:
    try:
        vae.plan(height, width, "1B", task="stream")
    except BudgetError as error:
        return budget_of(int(error.needed * SPARE))
    raise AssertionError("one byte is never enough")


def _compared(vae: VAE, latents: Any) -> str:
    """Return how a decode compares with the full decode by the plain model, in memory and in its pixels."""
    import mlx.core as mx

    from zvae_tiled.cli.full import full_decode
    from zvae_tiled.inputs.latents import read_latents
    from zvae_tiled.report.metrics import psnr

    ready = read_latents(latents, vae.config)
    ours, report = vae.decode(latents, return_report=True)
    height, width = report.plan.case.pixels
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    whole = full_decode(vae, ready)
    used = vae.weight_bytes + mx.get_peak_memory() - before
    return (
        f"{width}x{height} of it beside the full decode by the plain model: {psnr(ours, whole):.0f} dB; "
        f"that took {used / 1e6:,.0f} MB, this one {report.measured_peak / 1e6:,.0f} MB."
    )
