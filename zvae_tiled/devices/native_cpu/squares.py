"""Tiles of squares, and their memory: 3×3 convolutions of 4×4 pixels by fewer products than taps (native/squares.h)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from zvae_tiled.chain import Step

FEWEST, ENOUGH = 16, 32
"""A Step has squares if it has at least 16 inputs, and at least 32 inputs or outputs. Fewer cannot pay for transforms.

Time of squares, as a share of the ordinary kernel's, on a Zen 4 core, 2026-11-26 (avx512bf16, avx512, avx2;
best of 9, in turn):

    144 → 144             0.48  0.45  0.41      16 → 512   0.62  0.59  0.47
    144 → 288             0.44  0.47  0.44      128 → 3    0.71  0.63  0.76
    288 → 144             0.45  0.43  0.43      33 → 3     0.94  0.79  0.79
    144 → 144, doubled    0.52  0.59  0.54      16 → 32    1.03  0.67  0.56
    16 → 16 (no squares)  1.18  0.72  0.72      3 → 128 (no squares)  0.90  0.86  0.93
"""

MOST_ACROSS = 14
"""Squares side by side in a tile, at most: as many as AVX-512 holds in registers."""

MOST_DOWN = 4
"""Rows of squares in a tile, at most: their numbers stay in the L2 cache while all outputs are computed."""

LINE = 64
"""Bytes of a cache line."""


class Scheme(NamedTuple):
    """A scheme of native/scheme.h.

    Attributes:
        reads: Rows, and columns, that a square reads.
        step: Rows from one square to the next, before doubling.
        products: Products in each direction.
        writes: Rows that a square writes.
    """

    reads: int
    step: int
    products: int
    writes: int


FOUR = Scheme(6, 4, 6, 4)
DOUBLED = Scheme(4, 2, 5, 4)


def scheme_of(step: Step) -> Scheme | None:
    """Return the scheme of a Step that has squares, else None."""
    many = step.inputs >= FEWEST and max(step.inputs, step.outputs) >= ENOUGH
    if step.kind != "conv" or step.kernel != 3 or step.stride != 1 or not many:
        return None
    return DOUBLED if step.upsample else FOUR


@dataclass(frozen=True)
class Squares:
    """The squares of one path; the numbers are the library's (`NativePath`).

    Inputs are padded to cache lines where they are transformed, and to pairs of int16 in packed weights. Outputs are
    padded to vectors (native/blocks.h).

    Attributes:
        small: Bytes of a number that is multiplied.
        lanes: Floats in a vector.
        outputs: Outputs of a block.
        blocks: Blocks of outputs whose products a tile holds at once.
        number: Bytes of a number of the path's other products.
        pixels: Pixels of the path's other products.
    """

    small: int
    lanes: int
    outputs: int
    blocks: int
    number: int
    pixels: int

    def cut(self, scheme: Scheme, rows: int, width: int, threads: int) -> tuple[int, int]:
        """Return the rows and the columns of a tile: nearly equal tiles, which threads can share evenly."""
        squares_down, squares_across = -(-rows // scheme.step), -(-width // scheme.step)
        down, across = -(-squares_down // MOST_DOWN), -(-squares_across // MOST_ACROSS)
        while down * across < 4 * threads and down * across % threads and across < squares_across:
            # Ten squares in eight tiles are five tiles of two: the next number that can be had is ten.
            across = -(-squares_across // (-(-squares_across // across) - 1))
        return -(-squares_down // down) * scheme.step, -(-squares_across // across) * scheme.step

    def scratch(self, step: Step, scheme: Scheme, rows: int, width: int) -> int:
        """Return the bytes of scratch for the largest tile of a map of `rows` rows."""
        across = -(-width // scheme.step)
        across = -(-across // -(-across // MOST_ACROSS))
        most = min(MOST_DOWN, -(-rows // scheme.step)) * across
        inputs, planes = _round_up(step.inputs, LINE // self.small), scheme.reads**2
        blocks = min(self.blocks, -(-step.outputs // self.outputs))
        parts = [
            scheme.reads * (across * scheme.step + scheme.reads - scheme.step) * (4 * inputs + LINE),
            planes * _odd_lines(most * _odd_lines(inputs * self.small)),
            scheme.products**2 * _odd_lines(blocks * most * self.outputs * 4),
        ]
        if self.small == 2:
            parts += [planes * (4 * inputs + LINE), planes * most * 4]
        if step.shortcut:
            pixels = scheme.writes**2 * across + self.pixels
            parts += [pixels * _odd_lines(step.skip * self.number), pixels * self.outputs * 4]
        return sum(_round_up(part, LINE) for part in parts) + LINE

    def packed(self, step: Step, scheme: Scheme) -> int:
        """Return the bytes of packed weights."""
        shares = 4 if self.small == 2 else 0
        inputs, outputs = _round_up(step.inputs, 4 // self.small), _round_up(step.outputs, self.lanes)
        return outputs * scheme.products**2 * (inputs * self.small + shares)


def _round_up(number: int, to: int) -> int:
    return -(-number // to) * to


def _odd_lines(size: int) -> int:
    """Return a size rounded up to an odd number of cache lines, so that rows do not share a cache set."""
    return (-(-size // LINE) | 1) * LINE
