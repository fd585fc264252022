"""`Kernels`: the array operations that the engine needs. Each kind of device implements them, the dry run too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from zvae_tiled.chain import Spread, Step
from zvae_tiled.files.map_bytes import MapBytes

if TYPE_CHECKING:
    from zvae_tiled.devices.probes import Asked, Probes

T = TypeVar("T")
"""An array with rows of a map: (1, rows, width, channels)."""

Span = tuple[T, int, int]
"""Some rows of an array: the array, the first row, and the row to stop before."""

ALIKE: Iterator[float] = repeat(0.0)
"""What is added to the scores of each block of keys, if every key stands for itself."""

Affine = tuple[Any, Any, Any]
"""A GroupNorm folded into scale, shift and mean per channel: (x - mean)·scale + shift."""


class Kernels(Protocol[T]):
    """The array operations that the engine calls on a device.

    *Pieces* are a list of consecutive activated rows, in the type that the device computes in. A device that
    activates while it convolves may use any form for them. All other arrays have the storage type, that of the VAE.
    """

    folds: bool
    """Whether nearest ×2 and its 3×3 convolution are computed as four 2×2 convolutions of the small map."""

    scattered: bool
    """Whether `conv` reads the rows of a skip wherever they lie. If not, the engine joins them."""

    narrow: bool
    """Whether maps are stored in float16, whose range a decoder may exceed."""

    def grain(self, step: Step) -> int:
        """Return how many rows of a convolution's result belong together, as the `Workspace` does."""

    def rows(self, x: T) -> int:
        """Return the number of rows."""

    def join(self, spans: list[Span[T]]) -> T:
        """Copy spans of rows (array, start, stop) into one array. A single whole array is returned uncopied."""

    def span(self, pieces: list[Any], start: int, stop: int) -> list[Any]:
        """Return rows `start` to `stop` of pieces. The other rows can be freed."""

    def crop(self, x: T, left: int, right: int) -> T:
        """Copy the columns from `left` to `right`."""

    def to_host(self, x: T) -> np.ndarray:
        """Return rows as float32 (rows, width, channels)."""

    def from_host(self, rows: np.ndarray) -> T:
        """Return rows (rows, width, channels) in the storage type."""

    def to_mlx(self, x: T) -> Any:
        """Return rows as an MLX array, in which finished rows leave the engine."""

    def write(self, place: MapBytes, x: T) -> None:
        """Append rows to a map on disk."""

    def read(self, place: MapBytes, start: int, rows: int, width: int, channels: int) -> T:
        """Read rows that `write` wrote."""

    def prepare(self, step: Step, weights: Mapping[str, Any]) -> Any:
        """Return a Step's weights in the form that this device needs. They are freed when the sweep ends."""

    def affine(self, scale: np.ndarray, shift: np.ndarray, mean: np.ndarray | float = 0.0) -> Affine:
        """Copy a folded norm to the device."""

    def edge(self, step: Step, width: int) -> list[Any]:
        """Return a row of zeros, for the padding above and below the map that the Step convolves."""

    def activate(self, step: Step, x: T, affine: Affine | None) -> list[Any]:
        """Apply a folded norm and the Step's activation. Upsample too if the Step does, unless that is folded."""

    def count(self, pieces: list[Any]) -> int:
        """Return the number of rows in the pieces."""

    def beside(self, skip: list[Span[T]]) -> Any:
        """Return the rows of a skip in the form that `conv` takes."""

    def spread(self, how: Spread, x: T) -> T:
        """Return rows of a skip with the shape of the output: values are repeated, or averaged in float32."""

    def added(self, skip: T, x: T) -> T:
        """Return the sum of two maps."""

    def shuffled(self, step: Step, x: T) -> T:
        """Return the rows of a shuffle: pixels made of channels, or channels made of pixels."""

    def conv(self, step: Step, weights: Any, pieces: list[Any], skip: Any) -> T:
        """Convolve. A 3×3 kernel needs one extra input row above and below.

        If the device folds upsampling, rows are counted before doubling. The skip is what `beside` returned, or None.
        """

    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and the largest sum of each row of the last `conv`, before bias and skip.

        Both are NaN if the row contains a NaN.
        """

    def idle(self, step: Step, weights: Any, pieces: list[Any]) -> bool:
        """Return whether a result with the same value everywhere may be correct.

        This is so if it has few values, or if weights or input have one value. For an attention, `pieces` is empty:
        return whether a result of zeros may be correct, because the biases are zeros.
        """

    def largest(self, x: T) -> np.ndarray:
        """Return the largest magnitude in each row. It is infinite if the row contains NaN or Inf."""

    def intact(self) -> bool:
        """Return whether memory kept every result that was computed since the last call of `intact`.

        Native kernels compare what they wrote with the contents of memory. MLX kernels cannot, and return True.
        """

    def lost(self, weights: Mapping[str, Any], prepared: Any) -> bool:
        """Return whether `prepare` turned weights into zeros. MLX's convolutions with them would seem correct."""

    def blank(self, pieces: list[Any]) -> bool:
        """Return whether a row's first column is zeros. Native kernels store no activated rows, and return False."""

    def keys(self, step: Step, weights: Any, x: T, affine: Affine) -> T:
        """Return the attention's keys and values, joined along the channels."""

    def attend(
        self, step: Step, weights: Any, x: T, affine: Affine, blocks: Iterator[T], gains: Iterator[float] = ALIKE
    ) -> T:
        """Return x plus, for each of its pixels, the attention over all blocks of keys and values.

        To the scores of each block its gain is added: the logarithm of how many keys each of its keys stands for.
        """

    def asked(
        self, step: Step, weights: Any, x: T, affine: Affine, blocks: Iterator[T], gains: Iterator[float] = ALIKE
    ) -> Asked:
        """Return what `attend` adds to each pixel of x, not rounded to the storage type, and the queries."""

    def weigher(self, probes: Probes) -> Callable[[T], np.ndarray]:
        """Return a function of a block: the largest share of its attention that any probe gives each of its keys."""

    def pick(self, x: T, pixels: np.ndarray, width: int) -> T:
        """Copy some pixels, numbered row by row, in this order, as rows of `width` pixels."""

    def stacked(self, weights: list[Any]) -> Any:
        """Return one 1×1 convolution whose outputs are those of several linear maps, one after the other."""

    def sums(self, step: Step, x: T) -> np.ndarray:
        """Return what each row adds to the state of a linear attention, (rows, *state)."""

    def moments(self, x: T) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and M2 of every channel of every row, (rows, channels) each."""
