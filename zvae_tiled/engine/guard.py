"""Silent failures caught: a convolution that gives zeros, one flat value, NaN or Inf is computed again, then refused.

Under memory pressure Metal has returned zeros in place of an error (mlx issue 3979), and past 2^31 elements MLX
computed wrong values (3248): a picture must not come out of that without a word.
"""

from __future__ import annotations

import math
from typing import Any, Generic

from zvae_tiled.chain import Step
from zvae_tiled.errors import SilentFailureError
from zvae_tiled.kernels.base import Kernels, T


class GuardedConv(Generic[T]):
    """A convolution that looks at what it got."""

    def __init__(self, kernels: Kernels[T]) -> None:
        self._kernels = kernels

    def __call__(self, step: Step, weights: Any, pieces: list[T], skip: T | None) -> T:
        """Convolve; once more, row by row, if the result cannot be right.

        Raises:
            SilentFailureError: It cannot be right the second time either.
        """
        out = self._kernels.conv(step, weights, pieces, skip)
        if self._healthy() or self._idle(step, weights, pieces):
            return out
        del out
        rows, margin = self._kernels.count(pieces) - 2 * step.halo, 2 * step.halo
        grown = step.factor if self._kernels.folds else 1
        parts = []
        for row in range(rows):
            aside = None if skip is None else self._kernels.join([(skip, row * grown, (row + 1) * grown)])
            window = self._kernels.span(pieces, row, row + 1 + margin)
            parts.append(self._kernels.conv(step, weights, window, aside))
            if not self._healthy() and not self._idle(step, weights, window):
                raise self._failure(step)
        return self._kernels.join([(part, 0, self._kernels.rows(part)) for part in parts])

    def _healthy(self) -> bool:
        low, high = self._kernels.extent()
        return math.isfinite(low) and math.isfinite(high) and low < high

    def _idle(self, step: Step, weights: Any, pieces: list[T]) -> bool:
        low, high = self._kernels.extent()
        return math.isfinite(low) and math.isfinite(high) and self._kernels.idle(step, weights, pieces)

    def _failure(self, step: Step) -> SilentFailureError:
        low, high = self._kernels.extent()
        if low == high:
            what, advice = (
                f"only the value {low}",
                "The device may be out of memory: close other programs, or name a smaller budget.",
            )
        else:
            what, advice = f"values from {low} to {high}", "Past float16's range? Load the VAE as bfloat16 or float32."
        return SilentFailureError(f"{step.name} gave {what}, also when computed again in smaller bands", advice)
