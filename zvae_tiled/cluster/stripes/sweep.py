"""One sweep of one stripe: the engine's sweep, for the rows of the stripe, from the rows that these need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Chain
from zvae_tiled.cluster.stripes.piece import Piece, Strips, bands, stored
from zvae_tiled.devices.kernels import Kernels
from zvae_tiled.devices.workspace import block_rows
from zvae_tiled.engine.bands import RamBands, Store
from zvae_tiled.engine.keys import AllKeys
from zvae_tiled.engine.moments import Merged, RowMoments
from zvae_tiled.engine.run import Run
from zvae_tiled.engine.spill_file import SpillFile
from zvae_tiled.engine.sums import RowSums, Sums
from zvae_tiled.planner.region import Rows
from zvae_tiled.planner.stage import Stage
from zvae_tiled.planner.stripes import asked


@dataclass(frozen=True)
class Engine:
    """What a process computes with.

    Attributes:
        chain: The Chain.
        kernels: The device.
        weights: Parameters of the model, by path.
        norms: Weights and biases of the model's norms, as NumPy arrays.
    """

    chain: Chain
    kernels: Kernels[Any]
    weights: Mapping[str, mx.array]
    norms: Mapping[str, np.ndarray]


class RowsMoments(NamedTuple):
    """Moments of some rows: mean and M2 of every group of each row, and the numbers of a group in a row."""

    rows: np.ndarray
    each: int


@dataclass
class Result:
    """What a sweep leaves of a stripe.

    Attributes:
        piece: What it stores.
        moments: The moments of each row where it ends.
        keys: The attention's keys and values.
        sums: What each row adds to the state of the linear attention where it ends, (rows, *state).
        pixels: Rows of the picture; in an encode, of the latents.
    """

    piece: Piece | None = None
    moments: RowsMoments | None = None
    sums: np.ndarray | None = None
    keys: Piece | None = None
    pixels: Piece | None = None

    def __sizeof__(self) -> int:
        """Return its bytes. Dask places tasks by them."""
        pieces = (self.piece, self.keys, self.pixels)
        sums = 0 if self.sums is None else self.sums.nbytes
        return 256 + sums + sum(piece.__sizeof__() for piece in pieces if piece is not None)


class StripeRun(Run[Any]):
    """Runs one sweep of a stage for one stripe."""

    def __init__(self, engine: Engine, stage: Stage, gathered: Mapping[int, Merged]) -> None:
        """Prepare to run.

        Args:
            engine: What computes.
            stage: The stage of the whole picture.
            gathered: The moments of the norms, and the sums of the linear attentions, that the sweep needs, by cut.
        """
        super().__init__(engine.chain, stage, engine.kernels, engine.weights, engine.norms, SpillFile(Path()))
        for cut, merged in gathered.items():
            whole = self._gathering(cut, merged)
            assert whole is not None
            self._fold(cut, whole)

    def result(self, index: int, stripe: Rows, given: Sequence[Piece], keys: Sequence[Piece]) -> Result:
        """Run a sweep for a stripe.

        Args:
            index: The sweep.
            stripe: The stripe.
            given: Pieces of the cut that the sweep reads, with all rows that it needs.
            keys: The attention's keys of all stripes, if the sweep passes it.
        """
        sweep, kernels, wanted = (
            self._stage.sweeps[index],
            self._kernels,
            asked(self._chain, self._stage, index, stripe),
        )
        place: RamBands[Any] = RamBands(kernels)
        if keys or sweep.ends == "keys":
            strips = (strip for piece in sorted(keys, key=lambda each: each.rows) for strip in piece.value)
            self._keys = AllKeys(bands(kernels, strips) if keys else place, block_rows(self._stage.width))
        with ExitStack() as stack:
            target = None if sweep.store is None else self._store(sweep.store, "ram", stack)
            gathered = self._row_by_row(index, wanted.ended)
            rows = list(self._part(index, stored(kernels, given), target, False, gathered, wanted))
            result = Result()
            if target is not None:
                assert wanted.stored is not None
                result.piece = piece_of(target, wanted.stored)
            if isinstance(gathered, RowMoments):
                result.moments = RowsMoments(gathered.rows, gathered.each)
            if isinstance(gathered, RowSums):
                result.sums = gathered.rows
            if sweep.ends == "keys":
                result.keys = Piece(wanted.ended, strips_of(place))
            if sweep.ends == "pixels":
                result.pixels = Piece(wanted.ended, rows)
        return result

    def _row_by_row(self, index: int, rows: Rows) -> RowMoments | RowSums | None:
        """Return what gathers the moments, or the sums, of some rows where a sweep ends; None if nothing does."""
        sweep = self._stage.sweeps[index]
        moments = self._moments(sweep)
        if isinstance(moments, Sums):
            return RowSums(self._chain.steps[sweep.stop].state, rows.stop - rows.first)
        return None if moments is None else RowMoments(moments.mean.size)


def piece_of(store: Store[Any], rows: Rows) -> Piece:
    """Return what was stored as a piece."""
    value, *skips = map(strips_of, store.places())
    return Piece(rows, value, skips)


def strips_of(place: Any) -> Strips:
    """Return the strips of a map in memory."""
    assert isinstance(place, RamBands)
    return place.strips()
