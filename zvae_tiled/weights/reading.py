"""Reads one tensor's values from the file to the host, checks them, and converts them to the target type."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import mlx.core as mx
import numpy as np

from zvae_tiled.weights.complaints import Complaints
from zvae_tiled.weights.layout import Layout
from zvae_tiled.weights.matching import Match, Quantised, Stored
from zvae_tiled.weights.quantised import dequantise
from zvae_tiled.weights.values import FLOAT32, PIECE, SOURCES, Array, Tally, Target

UNUSABLE_VALUES = "with values that cannot be used"


def read_values(match: Match, target: Target, layout: Layout, complaints: Complaints) -> Array:
    """Return a tensor in its stored order and the target's storage type. Values out of range become complaints."""
    if match.quantised is not None:
        values = _dequantised(match.source, match.quantised, target, complaints)
    else:
        # Time comes after the outputs, and in PyTorch's layout after the inputs too.
        inner = prod(match.stored_shape[1 if layout is Layout.MLX else 2 :]) if match.frames > 1 else 1
        values = _floats(match.source, target, complaints, match.frames, inner)
    return values.reshape(match.stored_shape)


def _floats(stored: Stored, target: Target, complaints: Complaints, frames: int = 1, inner: int = 1) -> Array:
    """Read a tensor; of `frames` runs of `inner` values that follow one another, only the last is kept."""
    # Piece by piece, so that the whole tensor never exists in its stored type.
    source, period = SOURCES[stored.info.dtype], frames * inner
    count = (stored.info.stop - stored.info.start) // source.itemsize
    out = np.empty(count // frames, target.storage)
    most = max(PIECE // period, 1) * period
    scratch = np.empty(min(count, most), source)
    tally = Tally(target)
    for part in _parts(count, most):
        piece = scratch[: part.stop - part.start]
        stored.file.read_tensor(stored.info, part.start * source.itemsize, piece.data.cast("B"))
        kept = piece.reshape(-1, frames, inner)[:, -1].reshape(-1) if frames > 1 else piece
        tally.convert(kept, stored.info.dtype, out[part.start // frames : part.stop // frames])
    _complain(stored, tally, complaints)
    return out


def _dequantised(packed: Stored, quantised: Quantised, target: Target, complaints: Complaints) -> Array:
    scales, biases = (
        mx.array(_floats(stored, FLOAT32, complaints).reshape(stored.info.shape))
        for stored in (quantised.scales, quantised.biases)
    )
    integers = np.empty(packed.info.shape, np.dtype("<u4"))
    packed.file.read_tensor(packed.info, 0, integers.data.cast("B"))
    wide = dequantise(mx.array(integers), scales, biases, quantised.packing)
    values = np.asarray(wide).reshape(-1)  # a view of MLX's memory
    out = np.empty(values.size, target.storage)
    tally = Tally(target)
    for part in _parts(values.size):
        tally.convert(values[part], "F32", out[part])
    _complain(packed, tally, complaints)
    return out


def _parts(count: int, most: int = PIECE) -> Iterator[slice]:
    for first in range(0, count, most):
        yield slice(first, min(first + most, count))


def _complain(stored: Stored, tally: Tally, complaints: Complaints) -> None:
    problem = tally.problem()
    if problem is not None:
        complaints.add(UNUSABLE_VALUES, f"{stored.name}: {problem}")
