"""The online softmax of the native attention: queries attend to one block of keys after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from zvae_tiled.devices.counted import room, spare
from zvae_tiled.devices.native_cpu import library as native
from zvae_tiled.devices.native_cpu.arrays import Array, address, memory_of, number_of
from zvae_tiled.devices.native_cpu.memory import NativeWorkspace
from zvae_tiled.devices.native_cpu.readback import unwritten

Call = Callable[[native.Attend, np.ndarray, list[np.ndarray]], None]
"""Runs an operation. Takes it, the sums of bits that it returns, and the memories that it writes."""


class Softmax:
    """Of each query the largest score, the sum of weights, and the weighted sum of values so far."""

    def __init__(self, workspace: NativeWorkspace, query: np.ndarray, call: Call) -> None:
        """Begin with no keys.

        Args:
            workspace: The sizes of scratch.
            query: The queries (1, rows, width, channels) in float32.
            call: Runs an operation.
        """
        self._workspace = workspace
        self._call = call
        self._query = query
        self._channels = query.shape[-1]
        self._queries = query.size // self._channels
        self._total = room(query.shape, np.float32)
        self._sums = self._total.reshape(self._queries, self._channels)
        self._top, self._weight = (room(self._queries, np.float32) for _ in range(2))
        for memory, value in ((self._total, 0.0), (self._top, -np.inf), (self._weight, 0.0)):
            memory[...] = value
        self._spare: list[np.ndarray] = []

    def add(self, block: Array, gain: float) -> None:
        """Attend to a block of keys and values. Add `gain` to their scores. The first block is the largest."""
        keys = block.size // self._channels // 2
        parts, each = self._workspace.asking(self._queries, self._channels)
        if not self._spare:
            packed = self._workspace.packed_keys(keys, self._channels)
            self._spare = [spare(packed), spare(min(self._workspace.threads, parts) * each)]
        written, changed = unwritten(parts), [self._top, self._weight, self._sums]
        read = memory_of(block)
        memories = [self._query, read, *changed, written, *self._spare]
        shape = (number_of(read), self._queries, keys, self._channels)
        scale, threads = self._channels**-0.5, self._workspace.threads
        operation = native.Attend(*shape, scale, *map(address, memories), each, threads)
        self._top -= np.float32(gain)  # scores only count as differences from the largest one
        rows = self._total[0].reshape(self._total.shape[1], -1)  # sums for each query would take 24 bytes
        self._call(operation, written, [self._top[None], self._weight[None], rows])
        self._top += np.float32(gain)

    def logs(self) -> np.ndarray:
        """Return the logarithm of the sum of each query's weights."""
        with np.errstate(all="ignore"):
            logs: np.ndarray = self._top + np.log(self._weight)
        return logs

    def result(self) -> np.ndarray:
        """Return the weighted means of the values. Call it last: they take the place of the sums."""
        with np.errstate(all="ignore"):  # NaN and Inf are for the guard to find
            self._sums /= self._weight[:, None]
        return self._total
