"""Measures how far a picture is from another, and whether the seams of tiles are visible."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from zvae_tiled.errors import InputError
from zvae_tiled.planner.plan import Plan

__all__ = ["ColourShift", "colour_shift", "heat_map", "max_error", "psnr", "seam_score", "steepest_seam"]

Picture = np.ndarray[Any, np.dtype[np.float64]]
Cuts = tuple[int, ...]

GRID = (0, 255, 255)
"""Colour of the tile grid in a heat map. No heat has this colour."""


def max_error(image: Any, reference: Any) -> float:
    """Return the largest absolute difference of two pictures."""
    return float(np.abs(_difference(image, reference)).max())


def psnr(image: Any, reference: Any, peak: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio in dB. It is infinite for equal pictures.

    Args:
        image: A picture, or a batch.
        reference: What it should be.
        peak: The range of the values: 1 for pictures in [0, 1].
    """
    error = np.square(_difference(image, reference)).mean()
    return float(10 * np.log10(peak**2 / error)) if error else float("inf")


def seam_score(image: Any, plan: Plan, reach: int = 8) -> float:
    """Return how much steeper a picture is across its seams than beside them. 1 means that no seam is visible.

    For each seam, this is the mean absolute step between the two pixels at the seam, divided by the mean step up to
    `reach` pixels to either side. The largest value of all seams is returned. A seam that was blended over many
    pixels has no step: use `colour_shift` for it.

    Args:
        image: (H, W, C) or (B, H, W, C), as the plan's decode returns it.
        plan: The plan of the decode (``report.plan``). An exact plan has no seams.
        reach: Pixels beside a seam to compare it with.
    """
    return steepest_seam(image, *_seams(_batched(image), plan), reach=reach)


def steepest_seam(image: Any, rows: Iterable[int], columns: Iterable[int], reach: int = 8) -> float:
    """Return the `seam_score` of a picture with seams at given places.

    Args:
        image: (H, W, C) or (B, H, W, C).
        rows: Rows of pixels at which a tile begins.
        columns: Columns of pixels at which a tile begins.
        reach: Pixels beside a seam to compare it with.

    Raises:
        InputError: A seam is outside the picture.
    """
    picture = _batched(image)
    scores = [1.0]
    for axis, seams in enumerate((rows, columns), 1):
        steps = np.abs(np.diff(picture, axis=axis)).mean(axis=(0, 3 - axis, 3))
        for seam in seams:
            if not 0 < seam <= len(steps):
                raise InputError(
                    f"a seam must lie between two pixels, at 1 to {len(steps)} in this picture, and not at {seam}",
                    "Pass rows and columns in this order, in pixels and not in latents.",
                )
            around = np.r_[steps[max(0, seam - 1 - reach) : seam - 1], steps[seam : seam + reach]]
            beside = around.mean() if around.size else 0.0
            scores.append(float(steps[seam - 1] / beside) if beside else float("inf") if steps[seam - 1] else 1.0)
    return max(scores)


@dataclass(frozen=True)
class ColourShift:
    """The largest change in the colours of tiles.

    Attributes:
        mean: The largest change of a tile's mean in a channel.
        spread: The largest ratio between the two standard deviations of a tile's channel; 1 means no change.
    """

    mean: float
    spread: float


def colour_shift(image: Any, reference: Any, plan: Plan | None = None) -> ColourShift:
    """Return how far mean and standard deviation of the tiles' colours are from the reference's.

    Args:
        image: (H, W, C) or (B, H, W, C), as the plan's decode returns it.
        reference: What it should be.
        plan: The plan of the decode. Default: none. Without seams, the whole picture is one tile.
    """
    ours, theirs = _batched(image), _batched(reference)
    _difference(ours, theirs)
    rows, columns = _seams(ours, plan)
    mean = spread = 0.0
    for top, bottom in pairwise((0, *rows, ours.shape[1])):
        for left, right in pairwise((0, *columns, ours.shape[2])):
            a, b = (x[:, top:bottom, left:right] for x in (ours, theirs))
            mean = max(mean, float(np.abs((a - b).mean(axis=(0, 1, 2))).max()))
            ratio = (a.std(axis=(0, 1, 2)) + 1e-6) / (b.std(axis=(0, 1, 2)) + 1e-6)
            spread = max(spread, float(np.maximum(ratio, 1 / ratio).max()))
    return ColourShift(mean, spread)


def heat_map(
    image: Any, reference: Any, plan: Plan | None = None, peak: float | None = None
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a picture of the difference, with the tile grid drawn over it, as uint8 (H, W, 3).

    Colours go from black for no difference over red and yellow to white for the largest. Each pixel shows the
    largest difference of all channels and of all pictures in the batch.

    Args:
        image: (H, W, C) or (B, H, W, C), as the plan's decode returns it.
        reference: What it should be.
        plan: The plan of the decode. Default: none. Without seams, no grid is drawn.
        peak: The difference that is drawn white. Default: the largest.
    """
    ours, theirs = _batched(image), _batched(reference)
    heat = np.abs(_difference(ours, theirs)).max(axis=(0, 3))
    top = float(heat.max()) if peak is None else peak
    # Red, green and blue rise one after the other, each over a third of the range.
    shades = np.clip(3 * (heat / top if top > 0 else heat)[:, :, None] - np.arange(3), 0, 1)
    picture: np.ndarray[Any, np.dtype[np.uint8]] = np.round(255 * shades).astype(np.uint8)
    rows, columns = _seams(ours, plan)
    picture[list(rows)] = GRID
    picture[:, list(columns)] = GRID
    return picture


def _seams(picture: Picture, plan: Plan | None) -> tuple[Cuts, Cuts]:
    """Return where tiles meet, after checking the picture's size. Without a plan there are no seams."""
    if plan is None:
        return (), ()
    if picture.shape[1:3] != plan.case.pixels:
        actual, planned = (f"{width}x{height}" for height, width in (picture.shape[1:3], plan.case.pixels))
        raise InputError(f"the picture is {actual}, but the plan is for {planned}", "Pass its report.plan.")
    return plan.seams


def _difference(image: Any, reference: Any) -> Picture:
    ours, theirs = np.asarray(image, np.float64), np.asarray(reference, np.float64)
    if ours.shape != theirs.shape or not ours.size:
        raise InputError(
            f"pictures to compare must have one shape, but these have {ours.shape} and {theirs.shape}",
            "Crop or resize one of them.",
        )
    difference = ours - theirs
    if not np.isfinite(difference).all():  # no largest and no mean of them would show it
        raise InputError("pictures to compare hold NaN or infinity", "See what wrote them.")
    return difference


def _batched(image: Any) -> Picture:
    picture = np.asarray(image, np.float64)
    if picture.ndim == 3:
        picture = picture[None]
    if picture.ndim != 4 or not picture.size:
        raise InputError(
            f"a picture must have shape (H, W, C) or (B, H, W, C), but this one has {picture.shape}",
            "If it has no axis for channels, add one: picture[..., None].",
        )
    return picture
