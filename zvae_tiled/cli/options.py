"""Options that several commands share. Each group reaches a command as one typed value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click

from zvae_tiled.cli.amounts import DISK, MEMORY
from zvae_tiled.cli.completion import config_names, vae_names
from zvae_tiled.errors import PlanError
from zvae_tiled.families import PRESETS, VAEConfig
from zvae_tiled.order import Layout
from zvae_tiled.planner.budget import SAFE_SHARE
from zvae_tiled.planner.case import rows_and_columns
from zvae_tiled.planner.grid import RAMPS
from zvae_tiled.planner.quality import QUALITIES, Exact, Quality, Statistics, Stream, Tiles
from zvae_tiled.planner.sampled import KEYS, Sampled

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
            vae = f" Name a VAE as --vae {value}." if value in PRESETS else ""
            self.fail(
                f"{value!r:.40} is no size. Write 4096x3072 (width x height), or 4096 for a square.{vae}", param, ctx
            )

    def __repr__(self) -> str:
        """Return the name in help texts."""
        return "SIZE"


SIZE = Size()


@dataclass(frozen=True)
class Model:
    """The options that choose a VAE, as they were typed.

    Attributes:
        vae: ``--vae``.
        config: ``--config``.
        dtype: ``--dtype``.
    """

    vae: str | None
    config: str | None
    dtype: str


@dataclass(frozen=True)
class Limits:
    """The options that limit memory, as they were typed.

    Attributes:
        budget: ``--budget``.
        spill_folder: ``--spill-folder``.
        disk_limit: ``--disk-limit``.
    """

    budget: str | None
    spill_folder: str | None
    disk_limit: str | None


@dataclass(frozen=True)
class Reading:
    """The options that say how latents are read from a file, as they were typed.

    Attributes:
        height: ``--height``.
        width: ``--width``.
        layout: ``--layout``.
        tensor: ``--tensor``.
    """

    height: int | None
    width: int | None
    layout: Layout | None
    tensor: str | None


def group(argument: str, build: Callable[..., object], **options: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that adds options to a command, and passes their values to it as one argument.

    Args:
        argument: The argument of the command.
        build: Makes its value from the values of the options.
        options: The options, each by the name of its value.
    """

    def decorate(function: F) -> F:
        @wraps(function)
        def command(**values: Any) -> Any:
            own = {name: values.pop(name) for name in options}
            return function(**values, **{argument: build(**own)})

        decorated: Any = command
        for option in reversed(options.values()):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


dtype_option = click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float32", "float16"]),
    default="bfloat16",
    show_default=True,
    help="The type of weights and intermediate values.",
)

vae_options = group(
    "model",
    Model,
    vae=click.option(
        "--vae",
        metavar="DIR|FILE|PRESET",
        shell_complete=vae_names,
        help="The VAE: a diffusers folder, a .safetensors file, the index of several (.safetensors.index.json), "
        "OWNER/MODEL in the Hugging Face cache, or demo, the small VAE of this package. A preset "
        f"({', '.join(PRESETS)}) means a model of that family in that cache. Default: $ZVAE_VAE, else the "
        "VAE of a Z-Image or FLUX.1 model in the cache.",
    ),
    config=click.option(
        "--config",
        metavar="PRESET|FILE",
        shell_complete=config_names,
        help="The shape of the VAE, if there is no config.json beside the weights: a preset, or a config.json.",
    ),
    dtype=dtype_option,
)

budget_option = click.option(
    "--budget",
    type=MEMORY,
    help="Most memory to use, weights included: 8GB (or 8), 500MB, or 60% of the memory available now. "
    f"Default: {SAFE_SHARE:.0%} of that memory.",
)


def quality_of(
    quality: str,
    tile: tuple[int, int] | None,
    overlap: tuple[int, int] | None,
    ramp: str | None,
    moments: Statistics | None,
    keys: int | None,
    tolerance: float | None,
) -> Quality:
    """Return the quality that the options describe.

    Raises:
        click.UsageError: An option for tiles or for sampled keys is combined with another quality, or out of range.
    """
    tiles = {"tile": tile, "overlap": overlap, "ramp": ramp, "moments": moments}
    _refuse_others(quality, Tiles.name, tiles, "has tiles")
    _refuse_others(quality, Sampled.name, {"keys": keys, "tolerance": tolerance}, "samples keys")
    if quality == Sampled.name:
        try:
            return Sampled(Sampled.keys if keys is None else keys, tolerance)
        except PlanError as error:
            raise click.UsageError(f"--{error.problem}. {error.advice}".rstrip()) from error
    if quality != Tiles.name:
        return Exact() if quality == Exact.name else Stream()
    default = Tiles()
    return Tiles(tile, overlap, ramp or default.ramp, moments or default.moments)


def check_sizes(quality: Quality, config: VAEConfig, sides: tuple[int, int] | None = None) -> None:
    """Refuse typed sizes that are no whole latents of a VAE.

    Args:
        quality: The quality, whose tiles may have sizes.
        config: The VAE.
        sides: Height and width of a picture, if they were typed.

    Raises:
        click.UsageError: A size is refused. The error names the nearest valid one.
    """
    what = "SIZE: "
    try:
        if sides is not None:
            rows_and_columns(*sides, config)
        what = "--"
        quality.check(config)
    except PlanError as error:
        raise click.UsageError(f"{what}{error.problem}. {error.advice}".rstrip()) from error


def _refuse_others(quality: str, own: str, typed: Mapping[str, object], has: str) -> None:
    names = ", ".join(f"--{name}" for name, value in typed.items() if value is not None)
    if quality != own and names:
        raise click.UsageError(f"{names}: only --quality {own} {has}. Remove it, or use --quality {own}.")


quality_options = group(
    "quality",
    quality_of,
    quality=click.option(
        "--quality",
        type=click.Choice(list(QUALITIES)),
        default="exact",
        show_default=True,
        help="exact: same pixels as a full decode. sampled: attention to the keys that matter, with a measured error. "
        "tiles: overlapping tiles. stream: one sweep, estimated statistics.",
    ),
    tile=click.option(
        "--tile", type=SIZE, help="tiles: size of a tile in pixels. Default: the largest that fits the budget."
    ),
    overlap=click.option(
        "--overlap",
        type=SIZE,
        help="tiles: pixels that neighbours share. Default: enough to make tiles exact (64 with --moments tile).",
    ),
    ramp=click.option(
        "--ramp", type=click.Choice(list(RAMPS)), help="tiles: how tiles are blended. Default: smootherstep."
    ),
    moments=click.option(
        "--moments",
        type=click.Choice(["global", "proxy", "tile"]),
        help="tiles: source of the norms' statistics. Default: global, the whole picture.",
    ),
    keys=click.option(
        "--keys", type=int, metavar="NUMBER", help=f"sampled: the most keys of the attention. Default: {KEYS}."
    ),
    tolerance=click.option(
        "--tolerance",
        type=float,
        metavar="SHARE",
        help="sampled: stop before any pixel if the attention's error is a larger share of the map (0.005: 0.5 %).",
    ),
)


spill_option = click.option(
    "--spill-folder",
    type=click.Path(exists=True, file_okay=False),
    help="Folder for maps that do not fit the budget. Default: $TMPDIR, else /var/tmp.",
)

disk_limit_option = click.option(
    "--disk-limit",
    type=DISK,
    help="Most bytes of maps on disk: 200GB (or 200), 0, or 50% of the free space. Maps beyond it are computed again. "
    "Default: any.",
)

limit_options = group("limits", Limits, budget=budget_option, spill_folder=spill_option, disk_limit=disk_limit_option)

latents_options = group(
    "reading",
    Reading,
    height=click.option("--height", type=int, metavar="PIXELS", help="The picture's height, for packed FLUX tokens."),
    width=click.option("--width", type=int, metavar="PIXELS", help="The picture's width, for packed FLUX tokens."),
    layout=click.option(
        "--layout",
        type=click.Choice(["NCHW", "NHWC"]),
        help="NHWC: the channels are the last axis. Default: the file's own layout, else NCHW.",
    ),
    tensor=click.option("--tensor", metavar="NAME", help="The tensor that holds the latents, if the file has several."),
)

bits_option = click.option(
    "--bits", type=click.Choice(["8", "16", "32"]), help="Bits per channel. Default: the file format's own."
)

overwrite_option = click.option(
    "--overwrite/--no-overwrite", default=True, show_default=True, help="Whether to replace existing files."
)

quiet_option = click.option(
    "--quiet", "-q", is_flag=True, help="Show no progress and no report. Errors are still shown."
)
