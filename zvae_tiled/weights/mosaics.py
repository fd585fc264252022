"""Lays out weights from pieces of the stored ones, as a family's `Mosaic` says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from zvae_tiled.chain import Shape
from zvae_tiled.families import Mosaic
from zvae_tiled.weights.layout import Layout, is_matrix
from zvae_tiled.weights.values import Array


def shapes_in_file(shapes: Mapping[str, Shape], mosaics: Mapping[str, Mosaic]) -> dict[str, Shape]:
    """Return the shapes that weights have in a file.

    Args:
        shapes: Those that the Chain needs, by name.
        mosaics: How some are laid out, by the names of their Steps.
    """
    laid = {name: mosaic_of(name, mosaics) for name in shapes}
    return {name: shape if (how := laid[name]) is None else how.stored(shape) for name, shape in shapes.items()}


def mosaic_of(name: str, mosaics: Mapping[str, Mosaic]) -> Mosaic | None:
    """Return how the weight or the bias of this name is laid out, if it is not as it is stored."""
    stem, _, leaf = name.rpartition(".")
    mosaic = mosaics.get(stem)
    return mosaic.bias if mosaic is not None and leaf == "bias" else mosaic


def laid_out(stored: Array, shape: Shape, mosaic: Mosaic, layout: Layout) -> Array:
    """Return a tensor laid out anew, with the axes in their stored order.

    Args:
        stored: The stored tensor.
        shape: Its shape as MLX has it.
        mosaic: How it is laid out.
        layout: The layout of the file.
    """
    if is_matrix(shape) or len(shape) == 1:
        stored = stored.reshape(shape[0], -1)  # in every layout
    inputs = 1 if layout is Layout.PYTORCH else stored.ndim - 1
    sizes = {0: stored.shape[0] // mosaic.rows, inputs: stored.shape[inputs] // mosaic.columns}
    counts = {0: len(mosaic.pieces), inputs: len(mosaic.pieces[0])}
    full = [sizes[axis] * counts[axis] if axis in sizes else size for axis, size in enumerate(stored.shape)]
    whole = np.zeros(full, stored.dtype)

    def part(array: Array, row: int, column: int) -> Array:
        places = {0: row, inputs: column}
        runs = {axis: slice(sizes[axis] * place, sizes[axis] * (place + 1)) for axis, place in places.items()}
        return array[tuple(runs.get(axis, slice(None)) for axis in range(array.ndim))]

    for row, pieces in enumerate(mosaic.pieces):
        for column, piece in enumerate(pieces):
            if piece is not None:
                part(whole, row, column)[...] = part(stored, *divmod(piece, mosaic.columns))
    return whole
