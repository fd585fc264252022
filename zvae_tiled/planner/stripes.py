"""Stripes of a picture: rows of its latents, and the rows of each map that a sweep needs for one of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from zvae_tiled.chain import Chain
from zvae_tiled.planner.region import Asked, Cutting, Region, Rows, region
from zvae_tiled.planner.stage import Stage


def split(height: int, count: int) -> list[Rows]:
    """Return the stripes of a picture: rows of its latents, as evenly as can be. There is none without rows."""
    edges = [height * i // count for i in range(count + 1)]
    return [Rows(low, high) for low, high in pairwise(edges) if low < high]


def asked(chain: Chain, stage: Stage, index: int, stripe: Rows) -> Asked:
    """Return the rows that a sweep is asked for: those of a stripe, which are rows of the latents."""
    sweep = stage.sweeps[index]
    ended, kept = (
        None if cut is None else Rows(stripe.first * chain.factors[cut], stripe.stop * chain.factors[cut])
        for cut in (sweep.stop, sweep.store)
    )
    assert ended is not None
    return Asked(ended, kept)


def region_of(device: Cutting, chain: Chain, stage: Stage, index: int, stripe: Rows) -> Region:
    """Return the rows that a sweep reads and computes for a stripe."""
    return region(device, chain, stage.height, stage.sweeps[index], asked(chain, stage, index, stripe))


def reads(device: Cutting, chain: Chain, stage: Stage, stripes: Sequence[Rows]) -> tuple[tuple[Rows, ...], ...]:
    """Return for each sweep, and each stripe, the rows that it reads."""
    return tuple(
        tuple(region_of(device, chain, stage, index, stripe).reads for stripe in stripes)
        for index in range(len(stage.sweeps))
    )


def home(stripe: int, stripes: int, workers: int) -> int:
    """Return the number of the worker that computes a stripe. Neighbouring stripes have the same."""
    return stripe * min(workers, stripes) // stripes


def edges(stripes: Sequence[Rows], factor: int, read: Rows, stripe: int) -> list[tuple[int, Rows]]:
    """Return the rows that a stripe reads of others, with the number of each.

    Args:
        stripes: The stripes.
        factor: Rows of the map for a row of the latents.
        read: The rows of the map that are read.
        stripe: The number of the stripe that reads them.
    """
    found = []
    top = bisect_right(stripes, read.first // factor, key=lambda rows: rows.first) - 1
    for other in range(top, len(stripes)):
        low, high = max(stripes[other].first * factor, read.first), min(stripes[other].stop * factor, read.stop)
        if low >= high:
            break
        if other != stripe:
            found.append((other, Rows(low, high)))
    return found
