"""How far a picture is from another, and whether the tiles it was made of can be seen."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from zvae_tiled.errors import InputError

Picture = np.ndarray[Any, np.dtype[np.float64]]


def max_error(image: Any, reference: Any) -> float:
    """Return the largest absolute difference of two pictures."""
    return float(np.abs(_difference(image, reference)).max())


def psnr(image: Any, reference: Any, peak: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio in dB; infinite for equal pictures.

    Args:
        image: A picture, or a batch.
        reference: What it should be.
        peak: The range of the values: 1 for pictures in [0, 1].
    """
    error = np.square(_difference(image, reference)).mean()
    return float(10 * np.log10(peak**2 / error)) if error else float("inf")


def seam_score(image: Any, rows: tuple[int, ...] = (), columns: tuple[int, ...] = (), reach: int = 8) -> float:
    """Return how much steeper a picture is across its seams than beside them; 1 means that none can be seen.

    The mean absolute step from one pixel to the next across each seam, divided by the mean of such steps up to
    `reach` pixels to either side; of all seams the largest.

    Args:
        image: (H, W, C) or (B, H, W, C).
        rows: Rows at which a tile begins, others than 0.
        columns: Columns likewise.
        reach: How far to look for the surroundings.
    """
    picture = _batched(image)
    scores = [1.0]
    for axis, seams in ((1, rows), (2, columns)):
        steps = np.abs(np.diff(picture, axis=axis)).mean(axis=(0, 3 - axis, 3))
        for seam in seams:
            if not 0 < seam < picture.shape[axis]:
                raise InputError(
                    f"a seam must lie inside the picture, {seam} does not lie inside {picture.shape[axis]}"
                )
            around = np.r_[steps[max(0, seam - 1 - reach) : seam - 1], steps[seam : seam + reach]]
            beside = around.mean() if around.size else 0.0
            scores.append(float(steps[seam - 1] / beside) if beside else float("inf") if steps[seam - 1] else 1.0)
    return max(scores)


@dataclass(frozen=True)
class ColourShift:
    """How the colours of tiles moved.

    Attributes:
        mean: The largest change of a tile's mean in a channel.
        spread: The largest ratio, or inverse ratio, of a tile's standard deviation in a channel to what it was.
    """

    mean: float
    spread: float


def colour_shift(image: Any, reference: Any, rows: tuple[int, ...] = (), columns: tuple[int, ...] = ()) -> ColourShift:
    """Return how far mean and spread of each tile's colours are from the reference's.

    Args:
        image: (H, W, C) or (B, H, W, C).
        reference: What it should be.
        rows: Rows that cut the picture into tiles.
        columns: Columns likewise.
    """
    ours, theirs = _batched(image), _batched(reference)
    _difference(ours, theirs)
    mean = spread = 0.0
    for top, bottom in _between(rows, ours.shape[1]):
        for left, right in _between(columns, ours.shape[2]):
            a, b = (x[:, top:bottom, left:right].reshape(-1, x.shape[-1]) for x in (ours, theirs))
            mean = max(mean, float(np.abs(a.mean(axis=0) - b.mean(axis=0)).max()))
            deviations = (a.std(axis=0) + 1e-6) / (b.std(axis=0) + 1e-6)
            spread = max(spread, float(np.maximum(deviations, 1 / deviations).max()))
    return ColourShift(mean, spread)


def _between(cuts: tuple[int, ...], size: int) -> list[tuple[int, int]]:
    edges = [0, *sorted(cuts), size]
    return [(low, high) for low, high in pairwise(edges) if low < high]


def _difference(image: Any, reference: Any) -> Picture:
    ours, theirs = np.asarray(image, np.float64), np.asarray(reference, np.float64)
    if ours.shape != theirs.shape or not ours.size:
        raise InputError(f"pictures to compare must have one shape, these have {ours.shape} and {theirs.shape}")
    return ours - theirs


def _batched(image: Any) -> Picture:
    picture = np.asarray(image, np.float64)
    if picture.ndim == 3:
        picture = picture[None]
    if picture.ndim != 4 or not picture.size:
        raise InputError(f"a picture must be (H, W, C) or (B, H, W, C), this one is {picture.shape}")
    return picture
