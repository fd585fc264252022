"""Silent failures caught: rows that are zeros, one flat value, NaN or Inf are computed again, then refused.

Under memory pressure Metal has returned zeros in place of an error (mlx issue 3979), and past 2^31 elements MLX
computed wrong values (3248): a picture must not come out of that without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

import numpy as np

from zvae_tiled.chain import Step
from zvae_tiled.engine.bands import Bands
from zvae_tiled.errors import SilentFailureError
from zvae_tiled.kernels.base import Affine, Kernels, T


class Guard(Generic[T]):
    """One Step's computations, which look at what they got."""

    def __init__(self, kernels: Kernels[T], step: Step, weights: Any) -> None:
        self._kernels = kernels
        self._step = step
        self._weights = weights

    def conv(self, pieces: list[T], skip: T | None) -> T:
        """Convolve; once more, row by row, if a row cannot be right.

        Raises:
            SilentFailureError: It cannot be right the second time either.
        """
        out = self._kernels.conv(self._step, self._weights, pieces, skip)
        if self._flaw(out, pieces) is None:
            return out
        del out
        grown = self._step.factor if self._kernels.folds else 1
        parts = []
        for row in range(self._step.gives(self._kernels.count(pieces))):
            aside = None if skip is None else self._kernels.join([(skip, row * grown, (row + 1) * grown)])
            window = self._window(pieces, row)
            parts.append(self._kernels.conv(self._step, self._weights, window, aside))
            if (flaw := self._flaw(parts[-1], window)) is not None:
                raise self._failure(flaw)
        return self._joined(parts)

    def keys(self, x: T, affine: Affine) -> T:
        """Return the attention's keys and values; likewise computed again."""
        return self._whole(x, lambda rows: self._kernels.keys(self._step, self._weights, rows, affine))

    def attend(self, x: T, affine: Affine, keys: Bands[T], block: int) -> T:
        """Ask all keys, some rows of them at a time; likewise computed again."""

        def ask(rows: T) -> T:
            return self._kernels.attend(self._step, self._weights, rows, affine, keys.read(block, release=False))

        return self._whole(x, ask)

    def _whole(self, x: T, compute: Callable[[T], T]) -> T:
        """Compute what has no halo; NaN and Inf are looked for, and none of it is flat by mistake alone."""
        out = compute(x)
        if self._kernels.finite(out):
            return out
        del out
        parts = [compute(self._kernels.join([(x, row, row + 1)])) for row in range(self._kernels.rows(x))]
        if not all(map(self._kernels.finite, parts)):
            raise self._failure("values that are not finite")
        return self._joined(parts)

    def _flaw(self, out: T, pieces: list[T]) -> str | None:
        """Say what is wrong with the last convolution, row by row; before bias and skip, which would hide zeros."""
        low, high = self._kernels.extent()
        for row in np.flatnonzero(~(low < high)):  # NaN is not below anything
            flat = low[row] == high[row] and np.isfinite(low[row])
            if not (flat and self._kernels.idle(self._step, self._weights, self._window(pieces, int(row)))):
                return f"only the value {low[row]}" if flat else f"values from {low[row]} to {high[row]}"
        return None if self._kernels.finite(out) else "values that are not finite"

    def _window(self, pieces: list[T], row: int) -> list[T]:
        """Return what a row of the result is convolved from."""
        top = row * self._step.stride
        return self._kernels.span(pieces, top, top + self._step.kernel)

    def _joined(self, parts: list[T]) -> T:
        return self._kernels.join([(part, 0, self._kernels.rows(part)) for part in parts])

    def _failure(self, flaw: str) -> SilentFailureError:
        if flaw.startswith("only"):
            advice = "The device may be out of memory: close other programs, or name a smaller budget."
        elif self._kernels.narrow:
            advice = 'float16 ends at 65,504: load the VAE with dtype="bfloat16" (--dtype bfloat16).'
        else:
            advice = "Check the weights, or close other programs: the device may be out of memory."
        return SilentFailureError(f"{self._step.name} gave {flaw}, also when computed again in smaller bands", advice)
