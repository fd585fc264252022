"""Lays out weights from pieces of the stored ones, as a family's `Mosaic` says."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx

from zvae_tiled.chain import Shape
from zvae_tiled.families import Mosaic


def shapes_in_file(shapes: Mapping[str, Shape], mosaics: Mapping[str, Mosaic]) -> dict[str, Shape]:
    """Return the shapes that weights have in a file.

    Args:
        shapes: Those that the Chain needs, by name.
        mosaics: How some are laid out, by the names of their Steps.
    """
    laid = {name: mosaics.get(name.rpartition(".")[0]) for name in shapes}
    return {name: shape if (how := laid[name]) is None else how.stored(shape) for name, shape in shapes.items()}


def laid_out(name: str, array: mx.array, mosaics: Mapping[str, Mosaic]) -> mx.array:
    """Return a weight as the Chain needs it. Beside the two, no more than one piece exists at a time.

    Args:
        name: Its name.
        array: The stored one, (O, H, W, I), or (O) if it is a bias.
        mosaics: As in `shapes_in_file`.
    """
    mosaic = mosaics.get(name.rpartition(".")[0])
    if mosaic is None:
        return array
    if array.ndim == 1:
        return _laid(array.reshape(-1, 1), mosaic.bias).reshape(-1)
    return _laid(array, mosaic)


def _laid(array: mx.array, mosaic: Mosaic) -> mx.array:
    rows, columns = array.shape[0] // mosaic.rows, array.shape[-1] // mosaic.columns
    shape = (rows * len(mosaic.pieces), *array.shape[1:-1], columns * len(mosaic.pieces[0]))
    whole = mx.zeros(shape, dtype=array.dtype)
    for row, pieces in enumerate(mosaic.pieces):
        for column, piece in enumerate(pieces):
            if piece is not None:
                down, right = divmod(piece, mosaic.columns)
                part = array[rows * down : rows * (down + 1), ..., columns * right : columns * (right + 1)]
                whole[rows * row : rows * (row + 1), ..., columns * column : columns * (column + 1)] = part
    mx.eval(whole)
    return whole
