"""AutoencoderKLHunyuanImage: HunyuanImage 2.1, whose samplers shuffle pixels; thirty-two pixels a latent.

A convolution, and the skip around it, give the channels of 2×2 pixels, which a shuffle then moves. In this order of
channels, a skip is each channel repeated, or the mean of neighbouring channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from zvae_tiled.chain import DOUBLE, HALVE, Chain, Norm, Resample, Skip, Spread, Step
from zvae_tiled.errors import ConfigError
from zvae_tiled.families.base import Family, LatentConvention, Task, VAEConfig
from zvae_tiled.families.checks import check_count, check_number, check_resnets, check_widths, frozen

GROUPS = 32
"""Groups of every GroupNorm."""


@dataclass(frozen=True)
class HunyuanImageConfig(VAEConfig):
    """The shape of an AutoencoderKLHunyuanImage; names are those of diffusers.

    Attributes:
        in_channels: Channels of the picture the encoder reads.
        out_channels: Channels of the picture the decoder writes.
        latent_channels: Channels of the latents.
        block_out_channels: Width of each level, from the picture's resolution down to the latents'.
        layers_per_block: Resnets in each level of the encoder; the decoder has one more in each.
        spatial_compression_ratio: Picture pixels for one latent, in each direction.
        scaling_factor: A pipeline's latents are the encoder's, multiplied by it.
    """

    class_name: ClassVar[str] = "AutoencoderKLHunyuanImage"
    only: ClassVar[dict[str, object]] = {"downsample_match_channel": True, "upsample_match_channel": True}

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 64
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512, 1024, 1024)
    layers_per_block: int = 2
    spatial_compression_ratio: int = 32
    scaling_factor: float = 0.75289

    def __post_init__(self) -> None:
        """Refuse a config that cannot be built.

        Raises:
            ConfigError: With the field's name.
        """
        object.__setattr__(self, "block_out_channels", frozen(self.block_out_channels))
        for name in ("in_channels", "out_channels", "latent_channels", "layers_per_block", "spatial_compression_ratio"):
            check_count(name, getattr(self, name))
        check_widths("block_out_channels", self.block_out_channels, GROUPS)
        check_resnets(len(self.block_out_channels), self.layers_per_block)
        check_number("scaling_factor", self.scaling_factor)
        if self.scaling_factor <= 0:
            raise ConfigError(f"scaling_factor must be above 0, it is {self.scaling_factor}")
        if self.spatial_compression_ratio != 2 ** (len(self.block_out_channels) - 1):
            raise ConfigError(
                f"spatial_compression_ratio must be {2 ** (len(self.block_out_channels) - 1)}, with "
                f"{len(self.block_out_channels)} levels in block_out_channels, it is {self.spatial_compression_ratio}"
            )
        if self.block_out_channels[-1] % (2 * self.latent_channels):
            raise ConfigError(
                f"the last of block_out_channels must be a multiple of twice latent_channels, {self.latent_channels}, "
                f"it is {self.block_out_channels[-1]}"
            )
        for above, below in zip(self.block_out_channels, self.block_out_channels[1:], strict=False):
            if 4 * above % below:
                raise ConfigError(f"block_out_channels: {below} does not divide 4 times {above}, the level before it")

    @property
    def scale(self) -> int:
        """Picture pixels for one latent pixel, in each direction."""
        return self.spatial_compression_ratio

    @property
    def latents(self) -> LatentConvention:
        """One factor; a token is one latent."""
        return LatentConvention(self.latent_channels, token=1, scaling=self.scaling_factor)

    def chain(self, task: Task) -> Chain:
        """Return the Chain of the decoder, or of the encoder."""
        if task == "encode":
            steps = tuple(_encoder(self))
            return Chain(steps, next(cut for cut, step in enumerate(steps) if step.name == "encoder.conv_out"))
        steps = tuple(_decoder(self))
        return Chain(steps, next(cut for cut, step in enumerate(steps) if step.name.startswith("decoder.up_blocks.")))


def _decoder(config: HunyuanImageConfig) -> Iterator[Step]:
    widths, latent, block = config.block_out_channels[::-1], config.latent_channels, 0
    width = widths[0]
    yield _around("decoder.conv_in", latent, width)
    yield from _mid_block("decoder.mid_block", width)
    for level, width in enumerate(widths):
        for _ in range(config.layers_per_block + 1):
            yield from _resnet(f"decoder.up_blocks.{block}", width)
            block += 1
        if level < len(widths) - 1:
            yield from _sampler(f"decoder.up_blocks.{block}", width, 4 * widths[level + 1], DOUBLE)
            block += 1
    norm = _norm("decoder.conv_norm_out")
    yield Step("decoder.conv_out", "conv", width, config.out_channels, norm=norm, activation="silu")


def _encoder(config: HunyuanImageConfig) -> Iterator[Step]:
    widths, moments, block = config.block_out_channels, 2 * config.latent_channels, 0
    yield Step("encoder.conv_in", "conv", config.in_channels, widths[0])
    for level, width in enumerate(widths):
        for _ in range(config.layers_per_block):
            yield from _resnet(f"encoder.down_blocks.{block}", width)
            block += 1
        if level < len(widths) - 1:
            yield from _sampler(f"encoder.down_blocks.{block}", width, widths[level + 1] // 4, HALVE)
            block += 1
    yield from _mid_block("encoder.mid_block", widths[-1])
    yield _around("encoder.conv_out", widths[-1], moments, _norm("encoder.conv_norm_out"))


def _around(name: str, inputs: int, outputs: int, norm: Norm | None = None) -> Step:
    """Return a convolution with a skip around itself, whose channels are repeated or averaged."""
    skip = Skip(inputs, spread=Spread(inputs, outputs)) if inputs != outputs else Skip(inputs)
    return Step(
        name, "conv", inputs, outputs, norm=norm, activation="silu" if norm else "none", opens=True, closes=skip
    )


def _sampler(name: str, inputs: int, outputs: int, resample: Resample) -> Iterator[Step]:
    yield _around(f"{name}.conv", inputs, outputs)
    moved = outputs * resample.down**2 // resample.up**2
    yield Step(f"{name}.shuffle", "shuffle", outputs, moved, kernel=1, resample=resample, order="yxc")


def _resnet(name: str, width: int) -> Iterator[Step]:
    first, second = (_norm(f"{name}.norm{number}") for number in (1, 2))
    yield Step(f"{name}.conv1", "conv", width, width, norm=first, activation="silu", opens=True)
    yield Step(f"{name}.conv2", "conv", width, width, norm=second, activation="silu", closes=Skip(width))


def _mid_block(name: str, width: int) -> Iterator[Step]:
    attention, norm = f"{name}.attentions.0", _norm(f"{name}.attentions.0.group_norm")
    yield from _resnet(f"{name}.resnets.0", width)
    yield Step(attention, "attention", width, width, kernel=1, norm=norm, opens=True, closes=Skip(width))
    yield from _resnet(f"{name}.resnets.1", width)


def _norm(name: str) -> Norm:
    return Norm(name, GROUPS)


PRESETS: dict[str, HunyuanImageConfig] = {
    "hunyuan-image-2.1": HunyuanImageConfig()  # hunyuanvideo-community/HunyuanImage-2.1-Diffusers, vae/config.json
}

REPOSITORIES: dict[str, tuple[str, ...]] = {
    "hunyuan-image-2.1": (
        "hunyuanvideo-community/HunyuanImage-2.1-Diffusers",
        "hunyuanvideo-community/HunyuanImage-2.1-Distilled-Diffusers",
    )
}
"""Models on Hugging Face that hold the VAE of each preset."""

FAMILY = Family(HunyuanImageConfig, PRESETS, REPOSITORIES)
