"""Catches silent failures: a result that cannot be right is computed again, then refused.

Under memory pressure Metal has returned zeros in place of an error (mlx issue 3979), and past 2^31 elements MLX
computed wrong values (3248). Neither may end in a wrong picture without an error. docs/exactness.md lists the faults
that are detected, and those that are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from zvae_tiled.chain import Step
from zvae_tiled.devices.kernels import ALIKE, Affine, Kernels, Span, T
from zvae_tiled.devices.probes import Asked, Probes
from zvae_tiled.engine.bands import part
from zvae_tiled.engine.checked import BFLOAT16, RESTART, spread
from zvae_tiled.engine.keys import Keys
from zvae_tiled.errors import SilentFailureError

Found = TypeVar("Found")

_LOST = "results that memory did not keep"
_NOT_FINITE = "values that are not finite"
_ZEROS = "rows of zeros"

_MEMORY = "The device may be out of memory: close other programs, or name a smaller budget."
_STORED = 2.0**-23
"""Smaller values may correctly be stored as zeros: float16's smallest is 2^-24."""


class Guard(Generic[T]):
    """Runs the kernels of one Step, and checks each result."""

    def __init__(self, kernels: Kernels[T], step: Step, weights: Callable[[], Any]) -> None:
        """Take a Step.

        Args:
            kernels: The device.
            step: The Step.
            weights: Returns its prepared weights. They are not kept from one call of a kernel to the next.
        """
        self._kernels = kernels
        self._step = step
        self._weights = weights

    def activate(self, x: T, affine: Affine | None) -> list[Any]:
        """Normalise and activate rows, and again if a row became zeros.

        Raises:
            SilentFailureError: A row became zeros the second time, too.
        """
        for _ in range(2):
            pieces = self._kernels.activate(self._step, x, affine)
            if not self._kernels.blank(pieces) or self._has_zeros(x, affine):
                return pieces
            del pieces
        raise SilentFailureError(f"The activated input of {self._step.name} had rows of zeros, twice", _MEMORY)

    def _has_zeros(self, x: T, affine: Affine | None) -> bool:
        """Return whether a row's first column is zeros also when NumPy activates it, so that zeros are correct."""
        column = self._kernels.to_host(self._kernels.crop(x, 0, 1)).astype(np.float64)
        if affine is not None:
            scale, shift, mean = map(np.asarray, affine)
            if self._step.rms is not None:
                column /= np.maximum(np.linalg.norm(column, axis=-1, keepdims=True), self._step.rms)
            column = (column - mean) * scale + shift
        if self._step.activation == "silu":
            column /= 1 + np.exp(-np.maximum(column, -700))
        if self._step.activation == "relu":
            column = np.maximum(column, 0)
        return bool((abs(column).max(axis=(1, 2)) <= _STORED).any())

    def conv(self, pieces: list[T], skip: list[Span[T]] | None) -> T:
        """Convolve rows from the start of a grain on. If a row cannot be right, convolve again, grain by grain.

        Raises:
            SilentFailureError: A row cannot be right the second time either.
        """
        weights = self._weights()
        out = self._kernels.conv(self._step, weights, pieces, skip and self._beside(skip))
        if self._flaw(out, pieces, weights) is None:
            return out
        del out
        stride, grown = self._step.stride, 1 if self._kernels.folds else self._step.factor
        parts = []
        count, grain = self._step.gives(self._kernels.count(pieces)), self._kernels.grain(self._step)
        for row in range(0, count, grain):
            rows = min(grain, count - row)
            aside = skip and self._beside(part(skip, row * stride // grown, (row + rows) * stride // grown))
            window = self._window(pieces, row, rows)
            parts.append(self._kernels.conv(self._step, weights, window, aside))
            if (flaw := self._flaw(parts[-1], window, weights)) is not None:
                raise self._failure(flaw)
        return self._joined(parts)

    def _beside(self, skip: list[Span[T]]) -> Any:
        """Return rows of a skip as `conv` takes them."""
        return self._kernels.beside(spread(self._kernels, self._step, skip))

    def keys(self, x: T, affine: Affine) -> T:
        """Return the attention's keys and values. If a row cannot be right, compute them again, row by row."""
        return self._whole(x, lambda rows: self._kernels.keys(self._step, self._weights(), rows, affine))

    def attend(self, x: T, affine: Affine, keys: Keys[T]) -> T:
        """Attend to all keys, block by block. If a row cannot be right, compute it again, row by row."""

        def attended(rows: T) -> T:
            return self._kernels.attend(self._step, self._weights(), rows, affine, keys.blocks(), keys.gains())

        return self._whole(x, attended)

    def asked(self, x: T, affine: Affine, blocks: Iterator[T], gains: Iterator[float] = ALIKE) -> Asked:
        """Return what the attention adds to each pixel of x, in float32. What is not finite is left to `attend`.

        Raises:
            SilentFailureError: Memory lost a result. The keys pass by once, so it cannot be computed again.
        """

        def watched() -> Iterator[T]:
            """Yield the blocks. To make one may ask `intact`, too, which would answer for the attention before it."""
            while True:
                self._check_intact()
                try:
                    yield next(blocks)  # no name holds it: the kernels free it
                except StopIteration:
                    return

        asked = self._kernels.asked(self._step, self._weights(), x, affine, watched(), gains)
        self._check_intact()
        return asked

    def _check_intact(self) -> None:
        if not self._kernels.intact():
            raise self._failure(_LOST)

    def weigher(self, probes: Probes) -> Callable[[T], np.ndarray]:
        """Return a function that weighs the keys of a block by probes. What memory lost is computed again.

        Both raise `SilentFailureError` if memory lost it the second time, too.
        """
        weigh = self._kept(lambda: self._kernels.weigher(probes))
        return lambda block: self._kept(lambda: weigh(block))

    def _kept(self, compute: Callable[[], Found]) -> Found:
        for _ in range(2):
            found = compute()
            if self._kernels.intact():
                return found
            del found
        raise self._failure(_LOST)

    def _whole(self, x: T, compute: Callable[[T], T]) -> T:
        """Compute a result that needs no halo. Unlike in `conv`, a flat value other than zero may be right here."""
        out = compute(x)
        if self._loss(out) is None:
            return out
        del out
        parts = []
        for row in range(self._kernels.rows(x)):
            parts.append(compute(self._kernels.join([(x, row, row + 1)])))
            if (flaw := self._loss(parts[-1])) is not None:
                raise self._failure(flaw)
        return self._joined(parts)

    def _loss(self, out: T) -> str | None:
        """Return what is wrong with a result of the attention; None if nothing is."""
        if not self._kernels.intact():
            return _LOST
        largest = self._kernels.largest(out)
        if not np.isfinite(largest).all():
            return _NOT_FINITE
        if largest.all() or self._kernels.idle(self._step, self._weights(), []):
            return None
        return _ZEROS

    def _flaw(self, out: T, pieces: list[T], weights: Any) -> str | None:
        """Return what is wrong with the last convolution; None if nothing is.

        The sums are checked too, because bias and skip could hide a fault in them.
        """
        if not self._kernels.intact():
            return _LOST
        low, high = self._kernels.extent()
        for row in np.flatnonzero(~(low < high)):  # true for NaN, too
            flat = low[row] == high[row] and np.isfinite(low[row])
            if not (flat and self._kernels.idle(self._step, weights, self._window(pieces, int(row)))):
                return f"only the value {low[row]}" if flat else f"values from {low[row]} to {high[row]}"
        largest = self._kernels.largest(out).reshape(len(low), -1)  # one row of sums may be two rows of the result
        if not np.isfinite(largest).all():
            return _NOT_FINITE
        blank = ~largest.all(axis=1) & (np.maximum(abs(low), abs(high)) > _STORED)
        blank_rows = np.flatnonzero(blank & (low < high)).tolist()
        return None if all(self._half_idle(largest[row], pieces, weights, row) for row in blank_rows) else _ZEROS

    def _half_idle(self, largest: np.ndarray, pieces: list[T], weights: Any, row: int) -> bool:
        """Return whether a row of zeros may be right beside another result of the same sums.

        That is so where upsampling is folded: a result reads two of the window's three rows, which may be zeros.
        """
        if len(largest) == 1:
            return False
        top, kernels = row * self._step.stride, self._kernels
        halves = [top + half for half in (0, 1) if not largest[half]]
        pairs = (kernels.span(pieces, at, at + 2) + kernels.span(pieces, at, at + 1) for at in halves)
        return all(kernels.idle(self._step, weights, pair) for pair in pairs)

    def _window(self, pieces: list[T], row: int, rows: int = 1) -> list[T]:
        """Return the pieces that some rows of the result are convolved from."""
        top = row * self._step.stride
        return self._kernels.span(pieces, top, top + self._step.reads(rows))

    def _joined(self, parts: list[T]) -> T:
        return self._kernels.join([(part, 0, self._kernels.rows(part)) for part in parts])

    def _failure(self, flaw: str) -> SilentFailureError:
        if flaw == _LOST:
            advice = RESTART
        elif flaw == _ZEROS or flaw.startswith("only"):
            advice = _MEMORY
        elif self._kernels.narrow:
            advice = BFLOAT16
        else:
            advice = (
                "Check the latents and the weights: a value may be too large. Or close other programs: the device may "
                "be out of memory."
            )
        return SilentFailureError(f"{self._step.name} gave {flaw}, also when computed again in smaller bands", advice)
