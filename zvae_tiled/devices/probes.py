"""`Probes`: queries that find the keys that matter, and `Weigher` on MLX. `Asked`: what queries were answered."""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx
import numpy as np

from zvae_tiled.devices.evaluated import now
from zvae_tiled.devices.heap import make_room
from zvae_tiled.devices.workspace import KEYS_WEIGHED


class Asked(NamedTuple):
    """What an attention answered to some queries, in float32.

    Attributes:
        queries: The queries, scaled, (queries, channels).
        logs: The logarithm of the sum of each query's weights, before they are divided by it.
        answers: What the attention adds to the map at each query, (queries, channels).
    """

    queries: np.ndarray
    logs: np.ndarray
    answers: np.ndarray


class Probes(NamedTuple):
    """Some queries that were answered exactly.

    Attributes:
        queries: The queries, scaled, (queries, channels).
        logs: The logarithm of the sum of each query's weights.
    """

    queries: np.ndarray
    logs: np.ndarray

    @classmethod
    def among(cls, asked: Asked, chosen: np.ndarray) -> Probes:
        """Take the chosen ones of some queries."""
        return cls(asked.queries[chosen], asked.logs[chosen])


class Weigher:
    """Weighs keys by probes, on MLX's device."""

    def __init__(self, probes: Probes) -> None:
        """Take the probes."""
        self._queries, self._logs = (now(mx.array(each)) for each in probes)

    def __call__(self, block: mx.array) -> np.ndarray:
        """Return the largest share of its attention that any probe gives each key of a block of keys and values.

        The keys are multiplied a fixed number at a time, so that no bit depends on the plan.
        """
        channels = self._queries.shape[1]
        both = block.reshape(-1, 2 * channels)
        logs: list[np.ndarray] = []
        for first in range(0, both.shape[0], KEYS_WEIGHED):
            keys = now(both[first : first + KEYS_WEIGHED, :channels].astype(mx.float32))
            make_room(2 * 4 * keys.shape[0] * len(self._logs))
            scores = now(keys @ self._queries.T)
            logs.append(np.asarray(now(mx.max(scores - self._logs, axis=1))))
        with np.errstate(over="ignore"):  # the guard of the attention reports what is not finite
            shares: np.ndarray = np.exp(np.concatenate(logs))
        return shares
