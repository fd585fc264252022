"""`CausalGuard`: runs a convolution that also reads the two frames before its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from zvae_tiled.chain import Skip, Step, earlier
from zvae_tiled.devices.kernels import Kernels, Span, T
from zvae_tiled.engine.carried import Carried
from zvae_tiled.engine.checked import added
from zvae_tiled.engine.guard import Guard


class CausalGuard(Guard[T]):
    """Runs the three kernels of a causal convolution on each band of a frame (chain/video.py)."""

    def __init__(
        self, kernels: Kernels[T], step: Step, weights: Callable[[Step], Callable[[], Any]], carried: Carried[T]
    ) -> None:
        """Take a Step, before the first row of a frame.

        Args:
            kernels: The device.
            step: The Step.
            weights: Returns the function that returns the prepared weights of a Step.
            carried: What the frames before gave.
        """
        own = weights(step)
        super().__init__(kernels, step, own)
        self._following = Guard(kernels, replace(step, closes=Skip(step.outputs)), own)
        before, oldest = earlier(step)
        self._before = Guard(kernels, before, weights(before))
        self._oldest = Guard(kernels, oldest, weights(oldest))
        self._carried = carried
        carried.begin()

    def conv(self, pieces: list[T], skip: list[Span[T]] | None) -> T:
        """Return the frame's own result, and carry what the two frames behind it are added."""
        rows, carried = self._step.gives(self._kernels.count(pieces)), self._carried
        upcoming = carried.upcoming.take(rows)
        if upcoming is None:
            out = super().conv(pieces, skip)
        elif self._step.closes is None:
            out = self._following.conv(pieces, upcoming)
        else:  # a kernel adds one skip
            out = super().conv(pieces, skip)
            out = added(self._kernels, self._step, self._kernels.join(upcoming), out)
        del upcoming
        carried.upcoming.put(self._before.conv(pieces, carried.beyond.take(rows)))
        carried.beyond.put(self._oldest.conv(pieces, None))
        return out
