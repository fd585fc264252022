"""What somebody asks for beyond a budget: a quality, tiles, an overlap, where statistics come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

from zvae_tiled.config import VAEConfig
from zvae_tiled.errors import PlanError
from zvae_tiled.plan.grid import RAMPS
from zvae_tiled.whole import whole

Quality = Literal["exact", "stream", "tiles"]
Statistics = Literal["global", "proxy", "tile"]

TILES = (2048, 1536, 1024, 768, 512, 384, 256, 192, 128)
"""Sizes in pixels to try, after the whole picture."""


@dataclass(frozen=True)
class Request:
    """What somebody asks for beyond a budget.

    Attributes:
        quality: ``tiles`` or ``stream``.
        tile: Tile in pixels, rows and columns; None for the largest that fits.
        overlap: What neighbours share, in pixels, rows and columns; None for as much as makes tiles exact.
        ramp: How weights grow across an overlap.
        moments: Where the norms' statistics come from.
    """

    quality: Quality
    tile: tuple[int, int] | None = None
    overlap: tuple[int, int] | None = None
    ramp: str = "smootherstep"
    moments: Statistics = "global"

    def check(self, config: VAEConfig) -> None:
        """Refuse what nobody can ask for, of this VAE.

        Raises:
            PlanError: With what would do instead.
        """
        tiles = self.quality == "tiles"
        given = (self.ramp, self.moments) if tiles else (None, None)
        if request_of(self.quality, self.tile, self.overlap, *given) != self:
            raise PlanError(f"nobody can ask for {self}")
        check_scale(config, self)


def request_of(
    quality: str,
    tile: int | tuple[int, int] | None,
    overlap: int | tuple[int, int] | None,
    ramp: str | None,
    moments: str | None,
) -> Request | None:
    """Read what somebody asked for; None means an exact decode.

    Raises:
        PlanError: The quality is unknown, or an argument has no meaning for it.
    """
    if quality not in ("exact", "stream", "tiles"):
        raise PlanError(f"quality must be exact, stream or tiles, it is {quality!r}")
    given = {"tile": tile, "overlap": overlap, "ramp": ramp, "moments": moments}
    named = [name for name, value in given.items() if value is not None]
    if quality != "tiles" and named:
        problem = f'{", ".join(named)} given, but quality="{quality}" has no tiles'
        raise PlanError(problem, 'Leave them out, or say quality="tiles".')
    if quality == "exact":
        return None
    if quality == "stream":
        return Request("stream", moments="proxy")
    chosen = Request(
        "tiles",
        _pair("tile", tile),
        _pair("overlap", overlap),
        "smootherstep" if ramp is None else ramp,
        cast(Statistics, "global" if moments is None else moments),
    )
    if not isinstance(chosen.ramp, str) or chosen.ramp not in RAMPS:
        raise PlanError(f"ramp must be one of {', '.join(RAMPS)}, it is {ramp!r}")
    if chosen.moments not in ("global", "proxy", "tile"):
        raise PlanError(f"moments must be global, proxy or tile, it is {moments!r}")
    return chosen


def check_scale(config: VAEConfig, request: Request) -> None:
    """Refuse tiles and overlaps that are no whole latents, or do not fit each other.

    Raises:
        PlanError: With the nearest that fits.
    """
    scale = config.scale
    for name, least, pair in (("tile", scale, request.tile), ("overlap", 0, request.overlap)):
        for pixels in pair or ():
            if pixels < least or pixels % scale:
                near = max(least, (pixels + scale // 2) // scale * scale)
                raise PlanError(
                    f"{name} must be a multiple of {scale} pixels, it is {pixels}", f"The nearest is {near}."
                )


def tile_sizes(config: VAEConfig, height: int, width: int, request: Request) -> Iterator[tuple[int, int]]:
    """Yield tile sizes to try, in latents, largest first: the larger, the less overlap is computed twice."""
    scale = config.scale
    if request.tile is not None:
        yield request.tile[0] // scale, request.tile[1] // scale
        return
    yield height, width
    if request.quality == "tiles":
        for pixels in TILES:
            latents = max(1, pixels // scale)
            if latents < max(height, width):
                yield latents, latents


def _pair(name: str, value: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if value is None:
        return None
    given = tuple(value) if isinstance(value, tuple | list) else (value, value)
    pair = tuple(number for number in map(whole, given) if number is not None)
    if len(given) != 2 or len(pair) != 2:
        raise PlanError(f"{name} must be a whole number of pixels, or two (height and width), it is {value!r}")
    return pair[0], pair[1]
