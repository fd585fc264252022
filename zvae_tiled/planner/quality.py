"""The qualities of a decode: `Exact`, `Sampled`, `Tiles`, `Stream`. A caller passes one beside a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from zvae_tiled.checks import one_of, shown, whole
from zvae_tiled.errors import PlanError
from zvae_tiled.families import VAEConfig
from zvae_tiled.planner.case import Case, pixels_of
from zvae_tiled.planner.grid import RAMPS
from zvae_tiled.planner.sampled import Sampled

Statistics = Literal["global", "proxy", "tile"]


@dataclass(frozen=True)
class Exact:
    """The same result as a full decode, to rounding."""

    name: ClassVar[str] = "exact"
    moments: ClassVar[Statistics] = "global"
    ramp: ClassVar[str] = "linear"

    def check(self, config: VAEConfig) -> None:
        """Every VAE can be decoded exactly."""


@dataclass(frozen=True)
class Stream:
    """One sweep, with the norms' statistics estimated from a proxy. The plan states the expected error."""

    name: ClassVar[str] = "stream"
    moments: ClassVar[Statistics] = "proxy"
    ramp: ClassVar[str] = "linear"

    def check(self, config: VAEConfig) -> None:
        """Every VAE can be decoded in one sweep."""


@dataclass(frozen=True)
class Tiles:
    """Overlapping tiles, blended. Equal to the full decode with global moments and enough overlap.

    Attributes:
        tile: Size of a tile in pixels, one number or (height, width). Default: the largest that fits the budget.
        overlap: Pixels that neighbouring tiles share, one number or (height, width). Default: the reach of the
            decoder, which makes tiles exact; 64 if ``moments`` is ``tile``.
        ramp: How weights grow across an overlap: ``linear``, ``cosine`` or ``smootherstep``.
        moments: The map that the norms' statistics are computed on: ``global`` for the whole picture, ``proxy`` for a
            small copy of it, ``tile`` for each tile by itself.
    """

    tile: int | tuple[int, int] | None = None
    overlap: int | tuple[int, int] | None = None
    ramp: str = "smootherstep"
    moments: Statistics = "global"
    name: ClassVar[str] = "tiles"

    def __post_init__(self) -> None:
        """Refuse invalid values.

        Raises:
            PlanError: A size is not in whole pixels, or a name is unknown.
        """
        for name in ("tile", "overlap"):
            object.__setattr__(self, name, _pair(name, getattr(self, name)))
        one_of("ramp", self.ramp, tuple(RAMPS))
        one_of("moments", self.moments, ("global", "proxy", "tile"))

    def check(self, config: VAEConfig) -> None:
        """Refuse sizes that are not whole latents of this VAE.

        Raises:
            PlanError: A size is refused. The error names the nearest valid size.
        """
        scale = config.scale
        for name, least, pair in (("tile", scale, self.tile), ("overlap", 0, self.overlap)):
            for pixels in cast(tuple[int, int] | None, pair) or ():
                pixels_of(name, pixels, scale, least)

    def latents(self, name: Literal["tile", "overlap"], scale: int) -> tuple[int, int] | None:
        """Return the tile or the overlap in latents; None if the planner chooses it."""
        pair = cast(tuple[int, int] | None, getattr(self, name))
        return None if pair is None else (pair[0] // scale, pair[1] // scale)


Quality = Exact | Sampled | Tiles | Stream

Whole = Exact | Sampled
"""The qualities that decode the picture as one tile."""

QUALITIES: dict[str, type[Exact] | type[Sampled] | type[Tiles] | type[Stream]] = {
    each.name: each for each in (Exact, Sampled, Tiles, Stream)
}


def quality_of(value: str | Quality) -> Quality:
    """Return `value` if it is a quality, or the quality of that name with its defaults.

    Raises:
        PlanError: `value` is neither.
    """
    if isinstance(value, Quality):
        return value
    one_of("quality", value, tuple(QUALITIES))
    return QUALITIES[value]()


def kept_keys(quality: Quality, case: Case) -> int | None:
    """Return the most keys of the attention that a decode keeps; None if it keeps all, or has no attention."""
    return quality.kept(case) if isinstance(quality, Sampled) else None


def _pair(name: str, value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    sides = tuple(value) if isinstance(value, tuple | list) else (value, value)
    pair = tuple(number for number in map(whole, sides[:3]) if number is not None)
    if len(sides) != 2 or len(pair) != 2:
        raise PlanError(f"{name} must be a whole number of pixels, or two (height and width), it is {shown(value)}")
    return pair[0], pair[1]
