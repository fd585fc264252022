"""Measures how far a picture is from another, and whether the seams of tiles are visible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np

from zvae_tiled.errors import InputError
from zvae_tiled.planner.plan import Plan

__all__ = ["ColourShift", "colour_shift", "heat_map", "max_error", "psnr", "seam_score", "steepest_seam"]

Picture = np.ndarray[Any, Any]
Cuts = tuple[int, ...]

BLOCK = 1 << 18
"""The most numbers of a picture that are converted to float64 at a time, if a row has no more."""

GRID = (0, 255, 255)
"""Colour of the tile grid in a heat map. No heat has this colour."""


def max_error(image: Any, reference: Any) -> float:
    """Return the largest absolute difference of two pictures."""
    return max(float(np.abs(band).max()) for band in _differences(image, reference))


def psnr(image: Any, reference: Any, peak: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio in dB. It is infinite for equal pictures.

    Args:
        image: A picture, or a batch.
        reference: What it should be.
        peak: The range of the values: 1 for pictures in [0, 1].
    """
    error = sum(np.square(band).sum() for band in _differences(image, reference)) / np.asarray(image).size
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
        steps = _steps(picture if axis == 2 else picture.swapaxes(1, 2))
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
    max_error(ours, theirs)  # refuses what cannot be compared
    rows, columns = _seams(ours, plan)
    mean = spread = 0.0
    for top, bottom in pairwise((0, *rows, ours.shape[1])):
        for left, right in pairwise((0, *columns, ours.shape[2])):
            (a, of_a), (b, of_b) = (_moments(x[:, top:bottom, left:right]) for x in (ours, theirs))
            mean = max(mean, float(np.abs(a - b).max()))
            ratio = (of_a + 1e-6) / (of_b + 1e-6)
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
    largest = max_error(ours, theirs)
    white = largest if peak is None else peak
    _, height, width, channels = ours.shape
    picture = np.empty((height, width, 3), np.uint8)
    step = _rows_of_a_band(width * channels)  # so that each picture of a batch is one band
    for top in range(0, height, step):
        rows = slice(top, top + step)
        heat = reduce(np.maximum, (np.abs(x).max(axis=2) for x in _differences(ours[:, rows], theirs[:, rows])))
        # Red, green and blue rise one after the other, each over a third of the range.
        shades = np.clip(3 * (heat / white if white > 0 else heat)[:, :, None] - np.arange(3), 0, 1)
        picture[rows] = np.round(255 * shades)
    across, along = _seams(ours, plan)
    picture[list(across)] = GRID
    picture[:, list(along)] = GRID
    return picture


def _seams(picture: Picture, plan: Plan | None) -> tuple[Cuts, Cuts]:
    """Return where tiles meet, after checking the picture's size. Without a plan there are no seams."""
    if plan is None:
        return (), ()
    if picture.shape[1:3] != plan.case.pixels:
        actual, planned = (f"{width}x{height}" for height, width in (picture.shape[1:3], plan.case.pixels))
        raise InputError(f"the picture is {actual}, but the plan is for {planned}", "Pass its report.plan.")
    return plan.seams


def _rows_of_a_band(numbers: int) -> int:
    """Return how many rows of so many numbers are measured at a time."""
    return max(1, BLOCK // numbers)


def _bands(picture: Picture) -> Iterator[Picture]:
    """Yield a picture, or those of a batch, some rows at a time. As float64 the whole would take 24 bytes a pixel."""
    if picture.ndim > 3:
        for each in picture:
            yield from _bands(each)
        return
    step = _rows_of_a_band(picture.size // len(picture))
    for top in range(0, len(picture), step):
        yield picture[top : top + step].astype(np.float64)


def _steps(picture: Picture) -> Picture:
    """Return the mean absolute step from each column of a batch to the next."""
    total = sum(np.abs(np.diff(band, axis=1)).sum(axis=(0, 2)) for band in _bands(picture))
    mean: Picture = total / (picture.size // picture.shape[2])
    return mean


def _moments(tile: Picture) -> tuple[Picture, Picture]:
    """Return mean and standard deviation of each channel of a batch."""
    count = tile.size // tile.shape[3]
    mean = sum(band.sum(axis=(0, 1)) for band in _bands(tile)) / count
    return mean, np.sqrt(sum(np.square(band - mean).sum(axis=(0, 1)) for band in _bands(tile)) / count)


def _differences(image: Any, reference: Any) -> Iterator[Picture]:
    """Yield the difference of two pictures, or of two batches, some rows at a time."""
    ours, theirs = (np.atleast_1d(np.asarray(each)) for each in (image, reference))
    if ours.shape != theirs.shape or not ours.size:
        raise InputError(
            f"pictures to compare must have one shape, but these have {ours.shape} and {theirs.shape}",
            "Crop or resize one of them.",
        )
    for a, b in zip(_bands(ours), _bands(theirs), strict=True):
        difference = a - b
        if not np.isfinite(difference).all():  # no largest and no mean of them would show it
            raise InputError("pictures to compare hold NaN or infinity", "See what wrote them.")
        yield difference


def _batched(image: Any) -> Picture:
    picture = np.asarray(image)
    if picture.ndim == 3:
        picture = picture[None]
    if picture.ndim != 4 or not picture.size:
        raise InputError(
            f"a picture must have shape (H, W, C) or (B, H, W, C), but this one has {picture.shape}",
            "If it has no axis for channels, add one: picture[..., None].",
        )
    return picture
