"""The tasks of a striped picture: what a worker computes, and what others take of its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from zvae_tiled.cluster.stripes.piece import Piece
from zvae_tiled.cluster.stripes.sweep import Engine, Result, RowsMoments, StripeRun
from zvae_tiled.engine.moments import Merged
from zvae_tiled.engine.sums import Sums
from zvae_tiled.planner.region import Rows
from zvae_tiled.planner.stage import Stage

MapSums = Mapping[int, Merged]
"""The sums of a linear attention over the whole map, by its cut."""

Engines = Callable[[], Engine]
"""Returns what this process computes with. It can be sent to another process."""


def sweep(
    engine: Engines,
    stage: Stage,
    index: int,
    stripe: Rows,
    moments: Mapping[int, Merged],
    own: Result | Piece,
    edges: Sequence[Piece],
    keys: Sequence[Piece],
    sums: Sequence[MapSums] = (),
) -> Result:
    """Run a sweep for a stripe.

    Args:
        engine: What computes.
        stage: The stage of the whole picture.
        index: The sweep.
        stripe: The stripe.
        moments: The moments of the norms that the sweep needs, by cut.
        own: The sweep that stored the stripe's rows; or latents, with all rows that the stripe needs.
        edges: Rows of other stripes.
        keys: The keys of all stripes, if the sweep passes the attention.
        sums: Those of the linear attentions that the sweep passes.
    """
    piece = own.piece if isinstance(own, Result) else own
    assert piece is not None
    gathered = dict(moments)
    for each in sums:
        gathered |= each
    return StripeRun(engine(), stage, gathered).result(index, stripe, [piece, *edges], keys)


def edge(result: Result | Piece, rows: Rows) -> Piece:
    """Return a copy of some of the rows that a sweep stored."""
    piece = result.piece if isinstance(result, Result) else result
    assert piece is not None
    return piece.part(rows)


def moments(result: Result) -> RowsMoments | None:
    """Return the moments of a stripe's rows."""
    return result.moments


def summed(result: Result, above: Merged | None) -> Merged:
    """Return the sum of what a stripe's rows add to a linear attention, and of what all rows above them add.

    Rows are added one by one, from the top of the map to the bottom, as one process does.
    """
    assert result.sums is not None
    total = Sums(result.sums.shape[1:], above)
    total.add(result.sums)
    return total.total


def map_sums(cut: int, total: Merged) -> MapSums:
    """Return the sums of a whole map, which other tasks take from here."""
    return {cut: total}


def stored(result: Result) -> Piece:
    """Return what a sweep stored, without the sums of its rows, which are large."""
    assert result.piece is not None
    return result.piece


def keys(result: Result) -> Piece:
    """Return the keys of a stripe."""
    assert result.keys is not None
    return result.keys


def pixels(result: Result) -> Piece:
    """Return the rows of the picture that a stripe has."""
    assert result.pixels is not None
    return result.pixels
