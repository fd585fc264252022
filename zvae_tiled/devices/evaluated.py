"""Evaluates MLX arrays at once, in memory that was made free for them."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from zvae_tiled.devices.heap import make_room


def evaluate(*arrays: Any) -> None:
    """Evaluate arrays, or lists and dictionaries of them, and wait until what they were computed from is free.

    On a GPU, MLX frees the inputs of an evaluation in a thread of its own, some time after `mx.eval` has returned
    (mlx/backend/cuda/worker.cpp, and MLX's issue 4451). Later operations would allocate beside them, and a decode would
    take more than its plan predicts. `mx.synchronize` waits for that thread (CommandEncoder::synchronize).
    """
    mx.eval(*arrays)
    if mx.default_device().type == mx.gpu:
        mx.synchronize()


def now(x: mx.array) -> mx.array:
    """Evaluate x now, and return it."""
    make_room(x.nbytes)
    evaluate(x)
    return x


def viewed(x: mx.array, dtype: mx.Dtype) -> mx.array:
    """Return the memory of x as another type. It exists already, so no room is made for it."""
    result = x.view(dtype)
    evaluate(result)
    return result
