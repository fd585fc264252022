"""The handful of array operations the engine needs; one implementation a kind of device, and one that only counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np

from zvae_tiled.chain import Step

T = TypeVar("T")
"""Some rows of a map: (1, rows, width, channels)."""

Affine = tuple[Any, Any, Any]
"""A GroupNorm folded into scale, shift and mean a channel: (x - mean)·scale + shift."""


class Kernels(Protocol[T]):
    """What the engine asks of a device.

    *Pieces* are consecutive rows as a list, in the type the device computes in, or, where it activates as it
    convolves, as it wants them. Everything else is in the storage type, which is the VAE's.
    """

    folds: bool
    """Whether nearest ×2 and its 3×3 convolution are done as four 2×2 convolutions of the small map."""

    narrow: bool
    """Whether maps are stored in float16, whose range a decoder may pass."""

    def rows(self, x: T) -> int:
        """Return how many rows there are."""

    def join(self, spans: list[tuple[T, int, int]]) -> T:
        """Copy rows (from, to) of some arrays into one; one whole array is handed back as it is."""

    def span(self, pieces: list[Any], start: int, stop: int) -> list[Any]:
        """Return some rows of pieces; the others can be freed."""

    def crop(self, x: T, left: int, right: int) -> T:
        """Copy some columns."""

    def to_host(self, x: T) -> np.ndarray:
        """Return rows as float32 (rows, width, channels)."""

    def from_host(self, rows: np.ndarray) -> T:
        """Store rows (rows, width, channels)."""

    def write(self, file: BinaryIO, x: T) -> None:
        """Append rows to a file."""

    def read(self, file: BinaryIO, start: int, rows: int, width: int, channels: int) -> T:
        """Read rows back."""

    def prepare(self, step: Step, weights: Mapping[str, T]) -> Any:
        """Bring a Step's weights into the form this device wants; freed when the sweep ends."""

    def affine(self, scale: np.ndarray, shift: np.ndarray, mean: np.ndarray | float = 0.0) -> Affine:
        """Bring a folded norm onto the device."""

    def edge(self, step: Step, width: int) -> list[Any]:
        """Return the row of zeros beyond the top or the bottom of what the Step convolves."""

    def activate(self, step: Step, x: T, affine: Affine | None) -> list[Any]:
        """Normalise, apply SiLU, and upsample where the Step does and the device does not fold."""

    def count(self, pieces: list[Any]) -> int:
        """Return how many rows the pieces have."""

    def conv(self, step: Step, weights: Any, pieces: list[Any], skip: T | None) -> T:
        """Convolve; a 3×3 kernel reads one row more at each end than it writes (or writes from, where it folds)."""

    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the largest value of each row the last `conv` read, before bias and skip.

        Both are NaN where the row has one.
        """

    def idle(self, step: Step, weights: Any, pieces: list[Any]) -> bool:
        """Tell whether one value everywhere may be right: there are few, or weights or input are flat.

        Of an attention, whose `pieces` are empty: whether zeros everywhere may be right, because its biases are zeros.
        """

    def largest(self, x: T) -> np.ndarray:
        """Return the largest magnitude in each row; infinite where the row has NaN or Inf."""

    def intact(self) -> bool:
        """Tell whether memory kept every result that was computed since the last call of `intact`.

        Native kernels compare what they wrote with what memory holds. MLX cannot tell.
        """

    def lost(self, weights: Mapping[str, T], prepared: Any) -> bool:
        """Tell whether weights became zeros as they were prepared: MLX's convolutions with them would seem right."""

    def blank(self, pieces: list[Any]) -> bool:
        """Tell whether pieces have a row whose first column is zeros. Native kernels keep no activated rows: false."""

    def keys(self, step: Step, weights: Any, x: T, affine: Affine) -> T:
        """Return the attention's keys and values, one behind the other in the channels."""

    def attend(self, step: Step, weights: Any, x: T, affine: Affine, blocks: Iterator[T]) -> T:
        """Return x plus the attention of each of its pixels over all blocks of keys and values."""

    def moments(self, x: T) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and M2 of every channel of every row, (rows, channels) each."""
