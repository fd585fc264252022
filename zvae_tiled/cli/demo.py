"""`zvae demo`: decodes a bundled sample picture with the bundled VAE."""

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
"""Pixels per side that take some 20 seconds: on a GPU, and on a CPU with native kernels, a fast BLAS, or MLX's BLAS."""

SPARE = 1.2
"""Budget as a multiple of the smallest that works. It is tight, but needs no bands of a single row."""


@click.command(cls=Command, short_help="Decode a sample picture bundled in this package.")
@click.option(
    "--output",
    "-o",
    "out",
    default="demo.png",
    show_default=True,
    metavar="FILE",
    type=click.Path(),
    help="The picture file to write.",
)
@click.option(
    "--budget", metavar="AMOUNT", help="Most memory to use. Default: 20% more than the smallest budget that works."
)
@click.option(
    "--size",
    type=click.IntRange(64, 2048),
    metavar="PIXELS",
    help="Side of the part to decode; 2048 is the whole picture. Default: what takes this device some 20 seconds.",
)
@quiet_option
def demo(out: str, budget: str | None, size: int | None, quiet: bool) -> None:
    """Decode a large sample picture with the small VAE bundled in this package, in little memory.

    Prints the plan, the progress, predicted and measured figures, and a comparison with the full decode. Writes a PNG.
    """
    from zvae_tiled.demo import latents, path

    refuse_clashes([Path(out)], [path(LATENTS), *vae_sources(DEMO, None)])
    say = (lambda *_: None) if quiet else click.echo
    vae = load_vae(DEMO, None, "float32")
    side = size or SIDES[_speed()]
    middle = _middle(latents(LATENTS), side // vae.config.scale)
    height, width = (cells * vae.config.scale for cells in middle.shape[2:])
    plan = vae.plan(height, width, budget or _tight(vae, height, width), task="stream")
    say(f"The plan, computed from shapes alone, before decoding:\n\n{plan}\n")
    with bar(LATENTS, quiet) as listener:
        report = vae.decode_to_file(middle, out, plan=plan, progress=listener or False)
    say(f"Predicted and measured:\n\n{report}\n")
    say(_compared(vae, _middle(middle, middle.shape[2] // 2)))
    if size is None and side < SIDES["gpu"]:
        say(f"\nThis is the middle of a larger picture. To decode all of it: --size {SIDES['gpu']}.")
        say("zvae doctor shows how to make this machine faster.")
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
    """Return a sentence that compares a decode with the full decode by the plain model, in memory and in pixels."""
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
        f"Compared with a full decode by the plain model, for {width}x{height} of it: {psnr(ours, whole):.0f} dB. "
        f"The full decode took {used / 1e6:,.0f} MB, this one {report.measured_peak / 1e6:,.0f} MB."
    )
