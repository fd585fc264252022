"""Weighs keys by probes: a 1×1 convolution whose weights are the probes scores some keys at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from zvae_tiled.devices.counted import room
from zvae_tiled.devices.native_cpu.arrays import Array, memory_of
from zvae_tiled.devices.workspace import KEYS_WEIGHED

AT_ONCE = 2 * KEYS_WEIGHED
"""Keys of a call. Their scores are as many bytes as MLX's, which has each number twice."""


def weighed(block: Array, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the largest share of its attention that any probe gives each key of a block of keys and values.

    The keys are multiplied a fixed number at a time, so that no bit depends on the plan.

    Args:
        block: Keys and values.
        score: Returns the logarithm of the share that each probe gives each of some keys, (1, 1, keys, probes).
    """
    logs = np.concatenate([score(keys).max(axis=-1).ravel() for keys in _keys(block)])
    with np.errstate(over="ignore"):  # the guard of the attention reports what is not finite
        shares: np.ndarray = np.exp(logs)
    return shares


def _keys(block: Array) -> Iterator[np.ndarray]:
    memory = memory_of(block)
    both = memory.reshape(-1, memory.shape[-1])
    for first in range(0, len(both), AT_ONCE):
        part = both[first : first + AT_ONCE, : both.shape[-1] // 2]
        keys = room((1, 1, *part.shape), part.dtype)
        keys[0, 0] = part
        yield keys
