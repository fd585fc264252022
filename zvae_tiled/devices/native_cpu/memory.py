"""What the native CPU kernels allocate: scratch for the tile of each thread, and packed weights.

`kernels.py` takes its tiles from here, so the prediction and the run use the same sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from zvae_tiled.chain import Spread, Step
from zvae_tiled.devices.native_cpu.squares import Scheme, Squares, scheme_of
from zvae_tiled.devices.workspace import block_rows, local_bytes, local_prepared, spread_bytes

SCRATCH = 512 << 10
"""Bytes of activated rows in one tile: half of an L2 cache of 1 MB. The other half is for weights."""

TILE_COLUMNS = 70
"""Columns of a tile, at most: 5 × 14 pixels, of which AVX-512 holds 14 in registers."""

LINE = 64
"""Bytes of a cache line; scratch begins on one."""


@dataclass(frozen=True)
class Tile:
    """The part of a band that one thread computes at a time.

    Attributes:
        rows: Output rows.
        columns: Output columns.
        count: Tiles in the band.
        across: Tiles side by side.
        scratch: Bytes of scratch for each thread.
    """

    rows: int
    columns: int
    count: int
    across: int
    scratch: int


@dataclass(frozen=True)
class NativeWorkspace:
    """The native CPU kernels, one path of them.

    All numbers but those of threads are the library's own: `NativePath` says what each means.

    Attributes:
        threads: Threads, each with scratch of its own.
        fewer: Other numbers of threads that there may be in place of it. Fewer threads may have larger tiles.
        name: The path's name.
    """

    threads: int
    pixels: int
    outputs: int
    lanes: int
    depth: int
    number: int
    tile_rows: int
    queries: int
    panel_rows: int
    panel: int
    softmax_keys: int
    small: int
    blocks: int

    folds: bool = True
    shares: bool = True
    piece_rows: int | None = 1
    fewer: tuple[int, ...] = ()
    name: str = ""

    def tile(self, step: Step, rows: int, width: int) -> Tile:
        """Return the tile of a band with `rows` output rows; of a folded upsampling, rows and width before doubling."""
        scheme = self.squared(step)
        if scheme is not None:
            tall, columns = self.squares.cut(scheme, rows, width, self.threads)
            across = -(-width // columns)
            return Tile(
                tall, columns, -(-rows // tall) * across, across, self.squares.scratch(step, scheme, rows, width)
            )
        most, grain = max(TILE_COLUMNS // self.pixels, 1) * self.pixels, 16 if self.depth > 4 else 1
        across = -(-width // most)
        columns = width if across == 1 else _round_up(-(-width // across), grain)
        across = -(-width // columns)
        line = self.line(step, columns)
        fit = max(1, min(step.gives(SCRATCH // line), self.tile_rows, rows))
        wanted = -(
            -2 * self.threads // across
        )  # two tiles for each thread, so that no thread waits long for the last one
        fit = min(fit, max(1, rows // wanted))
        down = -(-rows // fit)
        # Scratch is for `fit` rows, even if the tile has fewer: so a lower band never needs more scratch.
        scratch = step.reads(fit) * line + self.pixels * self.pitch(step.inputs)
        if step.shortcut:
            scratch += (fit * columns + self.pixels) * self.pitch(step.skip)
        return Tile(-(-rows // down), columns, down * across, across, _round_up(scratch + LINE, LINE))

    @property
    def squares(self) -> Squares:
        """The squares of this path."""
        return Squares(self.small, self.lanes, self.outputs, self.blocks, self.number, self.pixels)

    def grain(self, step: Step) -> int:
        """Return the rows of a square, before doubling; 1 if the Step has no squares."""
        scheme = self.squared(step)
        return 1 if scheme is None else scheme.step

    def squared(self, step: Step) -> Scheme | None:
        """Return the scheme of a Step that is computed by squares (native/squares.h), else None."""
        return scheme_of(step) if self.small else None

    def taps(self, step: Step) -> float:
        """Return the products for a pixel: those of a square, shared by its pixels, or all taps."""
        scheme = self.squared(step)
        return self._kernel_taps(step) if scheme is None else scheme.products**2 / scheme.step**2

    def _kernel_taps(self, step: Step) -> int:
        """Return the taps for which weights are packed."""
        return 16 if step.upsample else step.kernel**2

    def line(self, step: Step, columns: int) -> int:
        """Return the bytes of one row of scratch for `columns` output columns."""
        return step.reads(columns) * self.pitch(step.inputs)

    def pitch(self, channels: int) -> int:
        """Return the bytes between two pixels in scratch: an odd number of cache lines."""
        return (-(-channels * self.number // LINE) | 1) * LINE

    def packed(self, outputs: int, inputs: int, taps: int) -> int:
        """Return the bytes of packed weights."""
        return _round_up(outputs, self.lanes) * taps * _round_up(inputs, self.depth) * self.number

    def packed_step(self, step: Step) -> int:
        """Return the bytes of a convolution's packed weights, its shortcut's left out."""
        scheme = self.squared(step)
        if scheme is not None:
            return self.squares.packed(step, scheme)
        return self.packed(step.outputs, step.inputs, self._kernel_taps(step))

    def packed_keys(self, keys: int, channels: int) -> int:
        """Return the bytes of a packed block of keys and values."""
        values = _round_up(keys, self.depth) * _round_up(channels, self.panel)
        return (_round_up(keys, self.panel) * _round_up(channels, self.depth) + values) * self.number + LINE

    def asking(self, queries: int, channels: int) -> tuple[int, int]:
        """Return how many tiles the queries are cut into, and the bytes of scratch for each thread."""
        numbers = (self.queries + self.panel_rows) * (self.pitch(channels) + self.pitch(self.softmax_keys))
        scores = 4 * self.queries * (self.softmax_keys + 2 * self.lanes + 1)
        return -(-queries // self.queries), _round_up(numbers + scores + LINE, LINE)

    def compute_size(self, itemsize: int) -> int:
        """Return `itemsize`: rows stay in the storage type, and are activated tile by tile."""
        return itemsize

    def prepared(self, step: Step, itemsize: int) -> tuple[int, int]:
        """Return the bytes of packed weights, and of the joined weights of keys and values while they are packed."""
        if step.local:
            return local_prepared(step)
        if step.kind == "attention":
            held = 2 * self.packed(step.inputs, step.inputs, 1) + self.packed(2 * step.inputs, step.inputs, 1)
            return held, 2 * step.inputs**2 * itemsize
        shortcut = self.packed(step.outputs, step.skip, 1) if step.shortcut else 0
        joined = step.parameters * itemsize if step.parts else 0
        return self.packed_step(step) + shortcut + joined, 0

    def activate(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return 0: activation is part of the convolution."""
        return 0

    def conv(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of scratch."""
        if step.local:
            return local_bytes(step, 1, width, itemsize)
        if self.fewer:
            each = (replace(self, threads=threads, fewer=()) for threads in (self.threads, *self.fewer))
            return max(alone.conv(step, rows, width, itemsize) for alone in each)
        tile = self.tile(step, rows, width)
        return min(self.threads, tile.count) * tile.scratch

    def spread(self, how: Spread, pixels: int, itemsize: int) -> int:
        """Return the bytes of the joined skip, and of a spread by MLX with a copy of it, or of at most two results."""
        skip = pixels * how.down**2 * how.inputs * itemsize
        return (2 if how.averages else 1) * skip + spread_bytes(how, pixels, itemsize)

    def added(self, size: int) -> int:
        """Return the bytes of the joined skip, MLX's copies of both maps, and their sum."""
        return 4 * size

    def keys(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of scratch."""
        return self.conv(step, rows, width, itemsize)

    def attend(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the most of three moments: queries are computed, a block is attended to, the result is written."""
        channels, queries = step.inputs, rows * width
        keys = block_rows(width) * width
        block, result = 2 * keys * channels * itemsize, queries * channels * itemsize
        query, sums = 4 * queries * channels, 4 * queries * (channels + 2)
        scratch = self.conv(step, rows, width, itemsize)
        parts, asking = self.asking(queries, channels)
        asked = query + sums + self.packed_keys(keys, channels) + min(self.threads, parts) * asking
        return max(query + scratch - block - result, asked - result, sums + scratch - block)

    def moments(self, channels: int, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of mean and M2 of all rows, in float64."""
        return 16 * channels * rows


def _round_up(number: int, to: int) -> int:
    return -(-number // to) * to
