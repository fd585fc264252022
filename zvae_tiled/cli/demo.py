"""`zvae demo`: decodes a bundled sample picture with the bundled VAE."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zvae_tiled.cli.amounts import MEMORY
from zvae_tiled.cli.bar import bar
from zvae_tiled.cli.command import Command
from zvae_tiled.cli.options import quiet_option
from zvae_tiled.cli.outputs import refuse_clashes
from zvae_tiled.cli.sources import DEMO, load_vae, named_config, vae_sources
from zvae_tiled.errors import BudgetError
from zvae_tiled.wording import budget_of
from zvae_tiled.wording import size as written

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE

LATENTS = "album"

SIDES = {"gpu": 2048, "native": 1024, "fast": 768, "slow": 512}
"""Pixels per side that take some 20 seconds: on a GPU, and on a CPU with native kernels, a fast BLAS, or MLX's BLAS."""

SPARE = 1.2
"""Budget as a multiple of the smallest that works. It is tight, but needs no bands of a single row."""

ROUNDING = 80.0
"""PSNR in dB above which two float32 pictures differ by rounding only: steps of 1/256 would give 59."""


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
    "--budget", type=MEMORY, help="Most memory to use. Default: 20% more than the smallest budget that works."
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

    Writes a PNG, and prints predicted and measured memory and time. Then it compares a part with the full decode.
    """
    from zvae_tiled.demo import latents, path

    cell = named_config(DEMO, None).cell
    if size is not None and size % cell:
        below = size - size % cell
        raise click.UsageError(
            f"--size must be a multiple of {cell} pixels, {size} is none. Write {below} or {below + cell}."
        )
    refuse_clashes([Path(out)], [path(LATENTS), *vae_sources(DEMO, None)])
    say = (lambda *_: None) if quiet else click.echo
    vae = load_vae(DEMO, None, "float32")
    side = size or SIDES[_speed()]
    middle = _middle(latents(LATENTS), side // vae.config.scale)
    height, width = (cells * vae.config.scale for cells in middle.shape[2:])
    named = budget or _tight(lambda least: vae.decode_to_file(middle, out, budget=least))
    with bar(LATENTS, quiet) as listener:
        report = vae.decode_to_file(middle, out, budget=named, progress=listener or False)
    whole = SIDES["gpu"]
    part = f", the middle of {whole}x{whole} (all: --size {whole})" if width < whole else ""
    say(f"picture    {out}: {width}x{height}{part}")
    say(report.memory_line())
    say(report.time_line())
    if not quiet:
        part_of = _middle(middle, middle.shape[2] // 2)
        sides = "x".join(str(cells * vae.config.scale) for cells in reversed(part_of.shape[2:]))
        click.echo(f"comparing  the middle {sides} is decoded in full too, which may take as long again", err=True)
        say(_compared(vae, part_of, sides))


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


def _tight(decode: Callable[[str], object]) -> str:
    """Return a little more than the smallest budget that works. `decode` refuses a smaller one before any work."""
    try:
        decode("1B")
    except BudgetError as error:
        return budget_of(int(error.needed * SPARE))
    raise AssertionError("one byte is never enough")


def _compared(vae: VAE, latents: Any, sides: str) -> str:
    """Return two lines that compare a decode with the full decode by the plain model, in pixels and in memory."""
    import mlx.core as mx

    from zvae_tiled.cli.full import full_decode
    from zvae_tiled.inputs.latents import read_latents
    from zvae_tiled.report.metrics import psnr

    ready = read_latents(latents, vae.config)
    named = _tight(lambda least: vae.decode(latents, budget=least))
    ours, report = vae.decode(latents, budget=named, return_report=True)
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    whole = full_decode(vae, ready)
    used = vae.weight_bytes + mx.get_peak_memory() - before
    ratio = psnr(ours, whole)
    alike = "the pixels of a full decode, to rounding" if ratio >= ROUNDING else "NOT those of a full decode"
    return (
        f"exact      middle {sides}: {alike} (PSNR {ratio:.0f} dB)\n"
        f"           these {sides} alone: {written(used)} in a full decode, {written(report.measured_peak)} in bands"
    )
