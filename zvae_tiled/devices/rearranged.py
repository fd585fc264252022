"""Maps whose numbers move: skips that are spread, and shuffles, in MLX; and the bytes that they take."""

from __future__ import annotations

import mlx.core as mx

from zvae_tiled.chain import Spread
from zvae_tiled.chain.step import Order
from zvae_tiled.devices.evaluated import now


def shuffled(x: mx.array, order: Order) -> mx.array:
    """Make the channels of each pixel 2×2 pixels."""
    _, rows, width, channels = x.shape
    sizes = {"c": channels // 4, "y": 2, "x": 2}
    split = x.reshape(1, rows, width, *(sizes[axis] for axis in order))
    y, across, c = (3 + order.index(axis) for axis in "yxc")
    return now(split.transpose(0, 1, y, 2, across, c).reshape(1, 2 * rows, 2 * width, channels // 4))


def unshuffled(x: mx.array, order: Order) -> mx.array:
    """Make each 2×2 pixels the channels of one."""
    _, rows, width, channels = x.shape
    split = x.reshape(1, rows // 2, 2, width // 2, 2, channels)
    places = {"y": 2, "x": 4, "c": 5}
    listed = split.transpose(0, 1, 3, *(places[axis] for axis in order))
    return now(listed.reshape(1, rows // 2, width // 2, 4 * channels))


def spread(how: Spread, x: mx.array) -> mx.array:
    """Repeat values of a skip, or average them in float32, until it has the output's shape."""
    if how.averages:
        return _averaged(how, unshuffled(x, "cyx") if how.down == 2 else x)
    repeated = now(mx.take(x, mx.array(how.sources.reshape(-1)), axis=-1))
    return repeated if how.up == 1 else shuffled(repeated, "yxc")


def _averaged(how: Spread, values: mx.array) -> mx.array:
    """Add up one member of every group after the other: so the bits of a pixel do not depend on the others."""
    total = now(mx.zeros((*values.shape[:-1], how.outputs)))
    for member in how.members.T:
        if (member < 0).all():
            continue
        part = now(mx.take(values, mx.array(member.clip(0)), axis=-1).astype(mx.float32))
        total = now(total + (part if (member >= 0).all() else mx.where(mx.array(member >= 0), part, 0)))
    return now((total * (1 / how.group)).astype(values.dtype))
