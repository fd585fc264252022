"""TAEHV, TAESD's network for videos, on one picture: a Chain of TAESD's blocks, which hold two frames at one level.

A block reads the frame before, too; before the first frame there are zeros. A decode doubles the frames at two levels,
and only the last of the four is the picture's. Up to the third level there is one frame: the second half of a block's
inputs meets zeros, and is left out. At the third level there are two, which follow one another as channels: the weights
are laid out so that each frame reads itself and the one before. What only other frames need is left out. An encode
takes the picture as four equal frames, which are two at the first level of blocks, then one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from zvae_tiled.chain import DOUBLE, HALVE, Skip, Step
from zvae_tiled.chain.step import Activation, Resample
from zvae_tiled.families.mosaic import Mosaic

LEVELS = 4
"""Levels of either half: what the frames of one picture become is known for these."""

STORED = Mosaic(((0,),))
"""The weight as it is stored."""

ALONE = Mosaic(((0,),), columns=2)
"""One frame: it reads itself, not the frame before."""

EACH = Mosaic(((0, None), (None, 0)))
"""Two frames, each of which reads itself."""

BOTH = Mosaic(((0, None), (1, 0)), columns=2)
"""Two frames, the second of which reads the first, too."""

ONLY_LAST = Mosaic(((1, 0),), columns=2)
"""Two frames are read, the second is written."""

BESIDE = Mosaic(((None,), (0,)))
"""The second frame is written, beside zeros in place of the first."""

PICK = Mosaic(((None, 1),), rows=2)
"""Of the four frames that two become, the last is written."""

TWICE = Mosaic(((0,), (0,)))
"""Two equal frames are written."""

Laid = tuple[Step, Mosaic]
"""A Step, and how its weight is laid out."""


@dataclass(frozen=True)
class TinyVideo:
    """The network of one picture. Names of Steps are those of TAEHV's own files, in one of which both halves are.

    Attributes:
        latents: Channels of the latents.
        pixels: Channels of the picture.
        widths: Width of each level, in the order of the half.
        blocks: Blocks in each level, in the order of the half. The picture's level has none.
        packs: Whether the encoder packs 2×2 pixels into one first, and the decoder unpacks them last.
    """

    latents: int
    pixels: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    packs: bool

    @property
    def _packed(self) -> int:
        return self.pixels * (4 if self.packs else 1)

    def decoder(self) -> Iterator[Laid]:
        """Yield what decodes."""
        yield Step("decoder.1", "conv", self.latents, self.widths[0]), STORED  # layer 0 is the clamp
        layer, frames, relu = 3, 1, True
        for level, width in enumerate(self.widths[:-1]):
            for block in range(self.blocks[level]):
                last = frames == 2 and block == self.blocks[level] - 1
                yield from _block(f"decoder.{layer}", width, frames, relu, last)
                relu, layer = True, layer + 1
            # Frames are multiplied behind the doubling. In front of it they give the same, of a quarter of the pixels.
            then = 2 if level == 1 else 1
            yield _frames(f"decoder.{layer + 1}", frames * width, then * width), PICK if level == 2 else STORED
            step = _resized(f"decoder.{layer + 2}", then * width, then * self.widths[level + 1], DOUBLE)
            yield step, EACH if then == 2 else STORED
            layer, frames, relu = layer + 3, then, False
        yield Step(f"decoder.{layer + 1}", "conv", self.widths[-1], self._packed, activation="relu"), STORED
        if self.packs:
            yield Step("decoder.unpack", "shuffle", self._packed, self.pixels, kernel=1, resample=DOUBLE), STORED

    def encoder(self) -> Iterator[Laid]:
        """Yield what encodes."""
        if self.packs:
            yield Step("encoder.pack", "shuffle", self.pixels, self._packed, kernel=1, resample=HALVE), STORED
        yield Step("encoder.0", "conv", self._packed, 2 * self.widths[0]), TWICE
        layer, frames, relu = 2, 2, True
        for level, width in enumerate(self.widths[:-1]):
            yield _frames(f"encoder.{layer}", frames * width, width), STORED
            then = 2 if level == 0 else 1
            step = _resized(f"encoder.{layer + 1}", width, then * self.widths[level + 1], HALVE)
            yield step, TWICE if then == 2 else STORED
            layer, frames, relu = layer + 2, then, False
            for _ in range(self.blocks[level + 1]):
                yield from _block(f"encoder.{layer}", self.widths[level + 1], frames, relu)
                relu, layer = True, layer + 1
        yield Step(f"encoder.{layer}", "conv", self.widths[-1], self.latents, activation="relu"), STORED


def _frames(name: str, inputs: int, outputs: int) -> Step:
    """Return what makes frames of frames."""
    return Step(f"{name}.conv", "conv", inputs, outputs, kernel=1, activation="relu", bias=False)


def _resized(name: str, inputs: int, outputs: int, resample: Resample) -> Step:
    return Step(name, "conv", inputs, outputs, resample=resample, bias=False)


def _block(name: str, width: int, frames: int, relu: bool, last: bool = False) -> Iterator[Laid]:
    """Yield three convolutions, and a skip around them. Of the two frames of a `last` block, only the second counts."""
    inner = width if last else frames * width
    first: Activation = "relu" if relu else "none"
    skip = Skip(frames * width, relu=relu)
    reads, each, writes = (ALONE, STORED, STORED) if frames == 1 else (BOTH, EACH, EACH)
    if last:
        reads, each, writes = ONLY_LAST, STORED, BESIDE
    yield Step(f"{name}.conv.0", "conv", frames * width, inner, activation=first, opens=True), reads
    yield Step(f"{name}.conv.2", "conv", inner, inner, activation="relu"), each
    yield Step(f"{name}.conv.4", "conv", inner, frames * width, activation="relu", closes=skip), writes
