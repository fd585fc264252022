"""The residual network of Qwen-Image 2.1 and Wan 2.2: Qwen-Image's, with a second skip around each block.

The skips have no weights: they repeat channels, or average them (`Spread`). A block without a sampler has its second
skip in the encoder only. Where a block halves or doubles a video's frames, one frame is the last of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from zvae_tiled.chain import DOUBLE, HALVE, Chain, Padding, Skip, Spread, Step
from zvae_tiled.errors import ConfigError
from zvae_tiled.families.base import Task
from zvae_tiled.families.checks import MAX_LEVELS
from zvae_tiled.families.qwen_image import conv_out, mid_block, resnet

BETWEEN_FRAMES = (
    *(f"decoder.up_blocks.{level}.upsampler.time_conv." for level in range(MAX_LEVELS)),
    *(f"encoder.down_blocks.{level}.downsampler.time_conv." for level in range(MAX_LEVELS)),
)
"""Weights between frames. One frame does not use them."""


@dataclass(frozen=True)
class Network:
    """One half of a residual VAE.

    Attributes:
        base: Width of the encoder's first convolution.
        widths: Width of each level, from the picture's resolution down to the latents'.
        latents: Channels of the latents.
        pixels: Channels that the encoder reads, or the decoder writes.
        resnets: Resnets in each level of the encoder; the decoder has one more in each.
        frames: For each level but the last, whether it halves the number of frames.
        patch: Rows, and columns, of pixels that are packed into one before the encoder and behind the decoder: 1, or 2.
    """

    base: int
    widths: tuple[int, ...]
    latents: int
    pixels: int
    resnets: int
    frames: tuple[bool, ...]
    patch: int = 1

    def check(self, task: Task) -> None:
        """Refuse a network that cannot be built.

        Raises:
            ConfigError: Its widths do not fit one another, or its pixels cannot be unpacked.
        """
        if self.pixels % self.patch**2:
            name = "in_channels" if task == "encode" else "out_channels"
            raise ConfigError(f"{name} must be a multiple of {self.patch**2}, with patch_size {self.patch}")
        if task == "encode" and self.widths[-1] != (before := (self.base, *self.widths)[-2]):
            raise ConfigError(f"dim_mult must end with two equal multiples, the widths are {before}, {self.widths[-1]}")
        if self.resnets < 2:
            raise ConfigError(f"num_res_blocks must be at least 2 with is_residual, it is {self.resnets}")
        try:
            self.chain(task)
        except ValueError as error:
            raise ConfigError(f"dim_mult does not fit temperal_downsample: {error}") from error

    def chain(self, task: Task) -> Chain:
        """Return the Chain of the decoder, or of the encoder."""
        if task == "encode":
            steps = tuple(self._encoder())
            return Chain(steps, next(cut for cut, step in enumerate(steps) if step.name == "encoder.conv_out"))
        steps = tuple(self._decoder())
        return Chain(steps, next(cut for cut, step in enumerate(steps) if step.name.startswith("decoder.up_blocks.")))

    def _decoder(self) -> Iterator[Step]:
        widths = self.widths[::-1]  # from the latents' resolution up
        width = widths[0]
        yield Step("post_quant_conv", "conv", self.latents, self.latents, kernel=1)
        yield Step("decoder.conv_in", "conv", self.latents, width)
        yield from mid_block("decoder.mid_block", width)
        for level, outputs in enumerate(widths):
            name = f"decoder.up_blocks.{level}"
            doubles = level < len(widths) - 1
            yield from _resnets(f"{name}.resnets", width, outputs, self.resnets + 1, stays=doubles)
            if doubles:
                spread = Spread(width, outputs, up=2, frames=2 if self.frames[-1 - level] else 1)
                outer = Skip(width, spread=spread)
                yield Step(f"{name}.upsampler.resample.1", "conv", outputs, outputs, resample=DOUBLE, closes=outer)
            width = outputs
        yield conv_out("decoder", width, self.pixels)
        if self.patch == 2:
            yield _patch("decoder.patch", self.pixels, self.pixels // 4)

    def _encoder(self) -> Iterator[Step]:
        width, last = self.base, len(self.widths) - 1
        if self.patch == 2:
            yield _patch("encoder.patch", self.pixels // 4, self.pixels)
        yield Step("encoder.conv_in", "conv", self.pixels, width)
        for level, outputs in enumerate(self.widths):
            name = f"encoder.down_blocks.{level}"
            resnets = list(_resnets(f"{name}.resnets", width, outputs, self.resnets, stays=True))
            if level < last:
                yield from resnets
                spread = Spread(width, outputs, down=2, frames=2 if self.frames[level] else 1)
                outer, down = Skip(width, spread=spread), f"{name}.downsampler.resample.1"
                yield Step(down, "conv", outputs, outputs, resample=HALVE, padding=Padding(0, 1), closes=outer)
            else:  # both skips end here: they are added up where the inner one opens
                yield from (*resnets[:-2], replace(resnets[-2], opens=False, joins=True), resnets[-1])
            width = outputs
        yield from mid_block("encoder.mid_block", width)
        yield conv_out("encoder", width, 2 * self.latents)
        yield Step("quant_conv", "conv", 2 * self.latents, 2 * self.latents, kernel=1)


def _resnets(name: str, inputs: int, outputs: int, count: int, stays: bool) -> Iterator[Step]:
    """Yield resnets. The skip of the first one stays open behind it, as that of the block."""
    yield from resnet(f"{name}.0", inputs, outputs, stays)
    for number in range(1, count):
        yield from resnet(f"{name}.{number}", outputs, outputs)


def _patch(name: str, inputs: int, outputs: int) -> Step:
    """Return a shuffle by columns first."""
    return Step(name, "shuffle", inputs, outputs, kernel=1, resample=DOUBLE if outputs < inputs else HALVE, order="cxy")
