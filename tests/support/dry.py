"""The dry run: the engine on shapes in place of arrays, to count bytes (tests/engine/test_dry.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zvae_tiled.chain import Spread, Step
from zvae_tiled.devices.kernels import ALIKE
from zvae_tiled.devices.probes import Asked, Probes
from zvae_tiled.devices.workspace import KEYS_WEIGHED, Workspace, sums_bytes
from zvae_tiled.files.map_bytes import MapBytes


class Ledger:
    """Bytes alive, and the most there ever were."""

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0

    def take(self, size: int) -> None:
        """Note an allocation."""
        self.live += size
        self.peak = max(self.peak, self.live)

    def spike(self, size: int) -> None:
        """Note memory that is taken and freed within one call."""
        self.peak = max(self.peak, self.live + size)


@dataclass
class Shape:
    """Rows without values: they cost as many bytes as real rows, and are freed with their last reference."""

    ledger: Ledger
    rows: int
    width: int
    channels: int
    itemsize: int
    of: Shape | None = None
    """The rows that these are a part of, and whose memory they share."""

    def __post_init__(self) -> None:
        self.ledger.take(self.size)

    def __del__(self) -> None:
        self.ledger.live -= self.size

    @property
    def size(self) -> int:
        """Bytes of its own."""
        if self.of is not None:
            return 0
        return self.rows * self.width * self.channels * self.itemsize


class DryKernels:
    """Kernels that only count."""

    def __init__(self, workspace: Workspace, itemsize: int, ledger: Ledger) -> None:
        """Count as this device would allocate."""
        self.folds = workspace.folds
        self.scattered = workspace.shares
        self.narrow = False
        self.ledger = ledger
        self._workspace = workspace
        self._itemsize = itemsize
        self._compute = workspace.compute_size(itemsize)

    def grain(self, step: Step) -> int:
        """Return how many rows belong together."""
        return self._workspace.grain(step)

    def rows(self, x: Shape) -> int:
        """Return how many rows there are."""
        return x.rows

    def join(self, spans: list[tuple[Shape, int, int]]) -> Shape:
        """Copy rows into one array."""
        first, start, stop = spans[0]
        if len(spans) == 1 and stop - start == first.rows:
            return first
        return self._like(first, sum(stop - start for _, start, stop in spans))

    def span(self, pieces: list[Shape], start: int, stop: int) -> list[Shape]:
        """Return some rows of pieces."""
        if self._workspace.shares:
            return list(self._shared(pieces, start, stop))
        if self._workspace.piece_rows == 1:
            return pieces[start:stop]
        whole = start == 0 and stop == self.count(pieces)
        return pieces if whole else [self._like(pieces[0], stop - start)]

    def crop(self, x: Shape, left: int, right: int) -> Shape:
        """Copy some columns."""
        return Shape(self.ledger, x.rows, right - left, x.channels, x.itemsize)

    def to_host(self, x: Shape) -> np.ndarray:
        """Return zeros."""
        return np.zeros((x.rows, x.width, x.channels), np.float32)

    def from_host(self, rows: np.ndarray) -> Shape:
        """Store rows."""
        height, width, channels = rows.shape
        return Shape(self.ledger, height, width, channels, self._itemsize)

    def write(self, place: MapBytes, x: Shape) -> None:
        """Write nothing."""

    def read(self, place: MapBytes, start: int, rows: int, width: int, channels: int) -> Shape:
        """Read nothing."""
        del place, start
        return Shape(self.ledger, rows, width, channels, self._itemsize)

    def prepare(self, step: Step, weights: Mapping[str, Shape]) -> Shape:
        """Count prepared weights."""
        del weights
        held, spike = self._workspace.prepared(step, self._itemsize)
        self.ledger.spike(held + spike)
        return Shape(self.ledger, 1, 1, 1, held)

    def affine(self, scale: np.ndarray, shift: np.ndarray, mean: np.ndarray | float = 0.0) -> tuple[Any, Any, Any]:
        """Return nothing."""
        del scale, shift, mean
        return None, None, None

    def edge(self, step: Step, width: int) -> list[Shape]:
        """Count a row of zeros."""
        return [Shape(self.ledger, 1, width, step.inputs, self._compute)]

    def activate(self, step: Step, x: Shape, affine: Any) -> list[Shape]:
        """Count activated rows."""
        del affine
        if self._workspace.shares:
            return [x]
        grown = 2 if step.upsample and not self.folds else 1
        pieces = self._workspace.piece_rows or x.rows * grown
        out = [
            Shape(self.ledger, pieces, x.width * grown, x.channels, self._compute)
            for _ in range(x.rows * grown // pieces)
        ]
        self.ledger.spike(self._workspace.activate(step, x.rows, x.width, self._itemsize))
        return out

    def count(self, pieces: list[Shape]) -> int:
        """Return how many rows the pieces have."""
        return sum(piece.rows for piece in pieces)

    def beside(self, skip: list[tuple[Shape, int, int]]) -> list[tuple[Shape, int, int]]:
        """Return the skip."""
        return skip

    def spread(self, how: Spread, x: Shape) -> Shape:
        """Count a skip with the shape of the output."""
        rows, width = x.rows // how.down, x.width // how.down
        self.ledger.spike(self._workspace.spread(how, rows * width, self._itemsize))
        return Shape(self.ledger, rows * how.up, width * how.up, how.outputs, self._itemsize)

    def added(self, skip: Shape, x: Shape) -> Shape:
        """Count a sum."""
        self.ledger.spike(self._workspace.added(x.size))
        return self._like(skip, x.rows)

    def shuffled(self, step: Step, x: Shape) -> Shape:
        """Count a shuffle."""
        rows, width = (side * step.factor // step.stride for side in (x.rows, x.width))
        return Shape(self.ledger, rows, width, step.outputs, self._itemsize)

    def conv(self, step: Step, weights: Any, pieces: list[Shape], skip: Any) -> Shape:
        """Count a convolution."""
        del weights, skip
        rows, width = step.gives(self.count(pieces)), pieces[0].width // step.stride
        factor = step.factor if self.folds else 1
        out = Shape(self.ledger, rows * factor, width * factor, step.outputs, self._itemsize)
        self.ledger.spike(self._workspace.conv(step, rows, width, self._itemsize))
        return out

    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Return something healthy."""
        return np.zeros(1), np.ones(1)

    def largest(self, x: Shape) -> np.ndarray:
        """Return something healthy."""
        return np.ones(x.rows)

    def intact(self) -> bool:
        """Return something healthy."""
        return True

    def lost(self, weights: Mapping[str, Shape], prepared: Shape) -> bool:
        """Return something healthy."""
        return False

    def blank(self, pieces: list[Shape]) -> bool:
        """Return something healthy."""
        return False

    def idle(self, step: Step, weights: Any, pieces: list[Shape]) -> bool:
        """Never called, as every extent is healthy."""
        del step, weights, pieces
        return False

    def keys(self, step: Step, weights: Any, x: Shape, affine: Any) -> Shape:
        """Count keys and values."""
        del weights, affine
        out = Shape(self.ledger, x.rows, x.width, 2 * x.channels, self._itemsize)
        self.ledger.spike(self._workspace.keys(step, x.rows, x.width, self._itemsize))
        return out

    def attend(
        self,
        step: Step,
        weights: Any,
        x: Shape,
        affine: Any,
        blocks: Iterator[Shape],
        gains: Iterator[float] = ALIKE,
    ) -> Shape:
        """Count the attention."""
        del weights, affine, gains
        spike = self._workspace.attend(step, x.rows, x.width, self._itemsize)
        for _ in blocks:
            self.ledger.spike(spike)
        out = self._like(x, x.rows)
        self.ledger.spike(spike)
        return out

    def asked(
        self,
        step: Step,
        weights: Any,
        x: Shape,
        affine: Any,
        blocks: Iterator[Shape],
        gains: Iterator[float] = ALIKE,
    ) -> Asked:
        """Count the attention, and three results in float32."""
        self.attend(step, weights, x, affine, blocks, gains)
        rows = np.zeros((x.rows * x.width, x.channels), np.float32)
        self.ledger.spike(3 * rows.nbytes)
        return Asked(rows, rows[:, 0], rows)

    def weigher(self, probes: Probes) -> Callable[[Shape], np.ndarray]:
        """Return a function that counts the scores, and gives some shares."""

        def weigh(block: Shape) -> np.ndarray:
            scores = KEYS_WEIGHED * (2 * block.channels + 8 * len(probes.logs))
            self.ledger.spike(block.size * 4 // block.itemsize // 2 + scores)
            return np.linspace(0, 1, block.rows * block.width)

        return weigh

    def pick(self, x: Shape, pixels: np.ndarray, width: int) -> Shape:
        """Copy some pixels."""
        return Shape(self.ledger, len(pixels) // width, width, x.channels, x.itemsize)

    def stacked(self, weights: list[Any]) -> Any:
        """Return one of them."""
        return weights[0]

    def sums(self, step: Step, x: Shape) -> np.ndarray:
        """Count the sums, and return something healthy."""
        self.ledger.spike(sums_bytes(step, x.rows, x.width))
        return np.ones((x.rows, *step.state), np.float32)

    def moments(self, x: Shape) -> tuple[np.ndarray, np.ndarray]:
        """Count the reductions, and return something healthy."""
        self.ledger.spike(self._workspace.moments(x.channels, x.rows, x.width, self._itemsize))
        healthy = np.tile(np.arange(1.0, x.channels + 1), (x.rows, 1))
        return healthy, healthy

    def _shared(self, pieces: list[Shape], start: int, stop: int) -> Iterator[Shape]:
        """Yield rows at the top as they are, and copies of rows further down, so that the rows above can be freed."""
        top = 0
        for piece in pieces:
            low, high = max(start - top, 0), min(stop - top, piece.rows)
            top += piece.rows
            if low >= high:
                continue
            if start and low:
                yield self._like(piece, high - low)
            else:
                yield replace(piece, rows=high - low, of=piece) if high - low < piece.rows else piece

    def _like(self, x: Shape, rows: int) -> Shape:
        return Shape(self.ledger, rows, x.width, x.channels, x.itemsize)
