"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from zvae_tiled.cli.completion import config_names, vae_names
from zvae_tiled.families import PRESETS
from zvae_tiled.planner.grid import RAMPS
from zvae_tiled.planner.quality import Exact, Stream, Tiles

F = TypeVar("F", bound=Callable[..., Any])


class Size(click.ParamType[tuple[int, int]]):
    """WIDTHxHEIGHT in pixels, or one number for both. The value is (height, width)."""

    name = "WIDTHxHEIGHT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse the value."""
        if isinstance(value, tuple):
            return value
        width, cross, height = str(value).lower().partition("x")
        try:
            return (int(height), int(width)) if cross else (int(width), int(width))
        except ValueError:
            self.fail(f"{value!r:.40} is no size. Write 4096x3072 (width x height), or 4096 for a square.", param, ctx)

    def __repr__(self) -> str:
        """Return the name in help texts."""
        return "SIZE"


SIZE = Size()


def _all(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


vae_options = _all(
    click.option(
        "--vae",
        metavar="DIR|FILE|PRESET",
        shell_complete=vae_names,
        help="The VAE: a diffusers folder, a .safetensors file, or demo, the small VAE of this package. A preset "
        f"({', '.join(PRESETS)}) means a model of that family in the Hugging Face cache. Default: $ZVAE_VAE, else the "
        "VAE of a Z-Image or FLUX.1 model in that cache.",
    ),
    click.option(
        "--config",
        metavar="PRESET|FILE",
        shell_complete=config_names,
        help="The shape of the VAE, if there is no config.json beside the weights: a preset, or a config.json.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(["bfloat16", "float32", "float16"]),
        default="bfloat16",
        show_default=True,
        help="The type of weights and intermediate values.",
    ),
)

budget_option = click.option(
    "--budget",
    metavar="AMOUNT",
    help="Most memory to use, weights included: 8GB, 500MB, or 60% of the memory available now. "
    "Default: a safe share of that memory.",
)

quality_options = _all(
    click.option(
        "--quality",
        type=click.Choice(["exact", "stream", "tiles"]),
        default="exact",
        show_default=True,
        help="exact: same pixels as a full decode. tiles: overlapping tiles. stream: one sweep, estimated statistics.",
    ),
    click.option(
        "--tile", type=SIZE, help="tiles: size of a tile in pixels. Default: the largest that fits the budget."
    ),
    click.option(
        "--overlap",
        type=SIZE,
        help="tiles: pixels that neighbours share. Default: enough to make tiles exact (64 with --moments tile).",
    ),
    click.option("--ramp", type=click.Choice(list(RAMPS)), help="tiles: how tiles are blended. Default: smootherstep."),
    click.option(
        "--moments",
        type=click.Choice(["global", "proxy", "tile"]),
        help="tiles: source of the norms' statistics. Default: global, the whole picture.",
    ),
)


def quality_of(options: Mapping[str, Any]) -> Exact | Stream | Tiles:
    """Return the quality that the options describe.

    Raises:
        click.UsageError: An option for tiles is combined with another quality.
    """
    tiling = {name: options[name] for name in ("tile", "overlap", "ramp", "moments") if options[name] is not None}
    if options["quality"] == Tiles.name:
        return Tiles(**tiling)
    if tiling:
        names = ", ".join(f"--{name}" for name in tiling)
        raise click.UsageError(f"{names}: only --quality tiles has tiles. Remove it, or use --quality tiles.")
    return Exact() if options["quality"] == Exact.name else Stream()


spill_option = click.option(
    "--spill-folder",
    type=click.Path(exists=True, file_okay=False),
    help="Folder for maps that do not fit the budget. Default: $TMPDIR, else /var/tmp.",
)

latents_options = _all(
    click.option("--height", type=int, metavar="PIXELS", help="The picture's height, for packed FLUX tokens."),
    click.option("--width", type=int, metavar="PIXELS", help="The picture's width, for packed FLUX tokens."),
    click.option(
        "--layout",
        type=click.Choice(["NCHW", "NHWC"]),
        help="NHWC: the channels are the last axis. Default: the file's own layout, else NCHW.",
    ),
    click.option("--tensor", metavar="NAME", help="The tensor that holds the latents, if the file has several."),
)

quiet_option = click.option(
    "--quiet", "-q", is_flag=True, help="Show no progress and no report. Errors are still shown."
)
