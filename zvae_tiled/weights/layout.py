"""Tells whether a checkpoint's convolutions are (O, I, H, W) like PyTorch's or (O, H, W, I) like MLX's."""

from __future__ import annotations

from enum import Enum

Shape = tuple[int, ...]


class Layout(Enum):
    """The order in which the axes of a convolution are stored."""

    PYTORCH = "(O, I, H, W)"
    MLX = "(O, H, W, I)"


MOST_AXES = 5
"""Axes of a kernel of a convolution in time. A norm's weights may be stored with as many."""

EITHER = frozenset(Layout)
NEITHER: frozenset[Layout] = frozenset()


def layouts_of(stored: Shape, expected: Shape) -> frozenset[Layout]:
    """Return the layouts in which a stored shape matches the shape of the model's tensor.

    Args:
        stored: The shape in the checkpoint.
        expected: The shape of the model's tensor, in MLX's layout.

    Returns:
        Both layouts if the order makes no difference or cannot be told; none if the shape is wrong.
    """
    if is_matrix(expected):
        return EITHER if stored in _matrix_shapes(expected) else NEITHER
    if len(expected) < 2:
        fits = len(stored) <= MOST_AXES and stored[:1] == expected and all(size == 1 for size in stored[1:])
        return EITHER if fits else NEITHER
    as_stored = {Layout.MLX: expected, Layout.PYTORCH: pytorch_shape(expected)}
    return frozenset(layout for layout, shape in as_stored.items() if shape == stored)


def is_matrix(expected: Shape) -> bool:
    """Return whether a tensor is a linear map or a 1×1 convolution. Its values are the same in every layout."""
    return len(expected) >= 2 and all(size == 1 for size in expected[1:-1])


def _matrix_shapes(expected: Shape) -> set[Shape]:
    # Older attention layers are 1×1 convolutions. The values are the same as those of a linear map.
    rows, columns = expected[0], expected[-1]
    ones = [(1,) * count for count in range(4)]
    return {(rows, columns, *one) for one in ones} | {(rows, *one, columns) for one in ones}


def pytorch_shape(expected: Shape) -> Shape:
    """Return the shape in which PyTorch stores a tensor that MLX stores as `expected`."""
    if len(expected) < 3:
        return expected
    return (expected[0], expected[-1], *expected[1:-1])


TIME = (1, 2, 3)
"""Lengths in time that a causal convolution may have: every published one has 3."""


def one_frame(stored: Shape, expected: Shape) -> tuple[Shape, int]:
    """Return the shape of the last temporal slice of a stored convolution, and how many slices it has.

    Args:
        stored: The shape in the checkpoint. PyTorch's 3-D convolutions are (O, I, T, H, W), MLX's (O, T, H, W, I).
        expected: The shape of the model's tensor, in MLX's layout.

    Returns:
        The stored shape and 1 if it is no 3-D convolution. Where both layouts fit, both give the same.
    """
    if len(stored) == 5 and len(expected) == 4 and not is_matrix(expected):
        for axis, shape in ((1, expected), (2, pytorch_shape(expected))):
            if stored[axis] in TIME and (*stored[:axis], *stored[axis + 1 :]) == shape:
                return shape, stored[axis]
    return stored, 1
