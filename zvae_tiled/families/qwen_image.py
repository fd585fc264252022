"""AutoencoderKLQwenImage, and AutoencoderKLWan of Wan 2.1: one network, which is two-dimensional on one frame.

Its convolutions are causal in time. Before the first frame they read zeros, so one frame sees only the last temporal
slice of each kernel. RMS norms normalise each pixel by itself, so the attention is the only barrier.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from zvae_tiled.chain import DOUBLE, HALVE, Chain, Norm, Padding, Segment, Skip, Step, doubling, segments
from zvae_tiled.checks import shown
from zvae_tiled.errors import ConfigError
from zvae_tiled.families.base import Family, LatentConvention, Task, VAEConfig
from zvae_tiled.families.checks import MAX_LEVELS, check_count, check_means, check_resnets, frozen

EPS = 1e-12
"""The smallest length that an RMS norm divides by, as in torch.nn.functional.normalize."""

MEAN = (
    *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
    *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
)
STD = (
    *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
    *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
)

TIME = (
    *(f"decoder.up_blocks.{level}.upsamplers.0.time_conv." for level in range(MAX_LEVELS)),
    *(f"encoder.down_blocks.{block}.time_conv." for block in range(100)),
)
"""Weights between frames. One frame does not use them."""


@dataclass(frozen=True)
class QwenImageConfig(VAEConfig):
    """The shape of an AutoencoderKLQwenImage; names and defaults are those of diffusers.

    Attributes:
        base_dim: Width of the level at the picture's resolution.
        z_dim: Channels of the latents.
        dim_mult: Width of each level as a multiple of `base_dim`, from the picture's resolution down.
        num_res_blocks: Resnets in each level of the encoder; the decoder has one more in each.
        attn_scales: Levels with attention; none is implemented.
        temperal_downsample: Levels that halve the number of frames. One frame is not changed.
        input_channels: Channels of pictures: 3, or 4 with alpha.
        latents_mean: Subtracted from each channel of the latents.
        latents_std: Each channel is divided by it.
    """

    class_name: ClassVar[str] = "AutoencoderKLQwenImage"
    harmless: ClassVar[frozenset[str]] = frozenset({"dropout"})
    unused: ClassVar[tuple[str, ...]] = TIME
    causal: ClassVar[bool] = True
    clips: ClassVar[bool] = True

    base_dim: int = 96
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attn_scales: tuple[float, ...] = ()
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    input_channels: int = 3
    latents_mean: tuple[float, ...] = MEAN
    latents_std: tuple[float, ...] = STD

    def __post_init__(self) -> None:
        """Refuse a config that cannot be built.

        Raises:
            ConfigError: With the field's name.
        """
        for name in ("dim_mult", "attn_scales", "temperal_downsample", "latents_mean", "latents_std"):
            object.__setattr__(self, name, frozen(getattr(self, name)))
        for name in ("base_dim", "z_dim", "num_res_blocks", "input_channels"):
            check_count(name, getattr(self, name))
        check_levels(self.base_dim, self.dim_mult, self.num_res_blocks, self.temperal_downsample)
        if self.attn_scales != ():
            raise ConfigError(f"attn_scales must be [], it is {shown(self.attn_scales)}")
        check_means(self.latents_mean, self.latents_std, self.z_dim)

    @property
    def in_channels(self) -> int:
        """Channels of the picture the encoder reads."""
        return self.input_channels

    @property
    def out_channels(self) -> int:
        """Channels of the picture the decoder writes."""
        return self.input_channels

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        return self.z_dim

    @property
    def scale(self) -> int:
        """Picture pixels for one latent pixel, in each direction."""
        return int(2 ** (len(self.dim_mult) - 1))

    @property
    def latents(self) -> LatentConvention:
        """A mean and a deviation for each channel; tokens of 2×2 latents."""
        return LatentConvention(self.z_dim, mean=self.latents_mean, std=self.latents_std)

    def chain(self, task: Task) -> Chain:
        """Return the Chain of the decoder, or of the encoder."""
        return _chain(self, task)

    def video(self) -> tuple[Segment, ...]:
        """Return the decoder of a video. An upsampler of a level that halved the frames doubles them first."""
        doubled = {}
        for level, (multiple, doubles) in enumerate(
            zip(self.dim_mult[:0:-1], self.temperal_downsample[::-1], strict=True)
        ):
            if doubles:
                name, width = f"decoder.up_blocks.{level}.upsamplers.0", self.base_dim * multiple
                doubled[f"{name}.resample.1"] = doubling(f"{name}.time_conv", width)
        return segments(_decoder(self), doubled)


def check_levels(base: int, multiples: object, resnets: int, frames: object, halved: bool = True) -> None:
    """Refuse levels that cannot be built. With `halved`, an upsampler halves the width, which must be even."""
    if not isinstance(multiples, tuple) or not 1 <= len(multiples) <= MAX_LEVELS:
        raise ConfigError(f"dim_mult must list 1 to {MAX_LEVELS} multiples of base_dim, it is {shown(multiples)}")
    for level, multiple in enumerate(multiples):
        check_count(f"dim_mult[{level}]", multiple, 1 << 10)
        if halved and base * multiple % 2 and len(multiples) > 1:
            raise ConfigError(f"base_dim times dim_mult must be even; level {level} has {base * multiple}")
    check_resnets(len(multiples), resnets, "num_res_blocks", "dim_mult")
    if not isinstance(frames, tuple) or len(frames) != len(multiples) - 1:
        raise ConfigError(f"temperal_downsample must list {len(multiples) - 1} values, it is {shown(frames)}")
    if not all(isinstance(each, bool) for each in frames):
        raise ConfigError(f"temperal_downsample must list true and false, it is {shown(frames)}")


def _chain(config: QwenImageConfig, task: Task) -> Chain:
    if task == "encode":
        steps = tuple(_encoder(config))
        return Chain(steps, next(cut for cut, step in enumerate(steps) if step.name == "encoder.conv_out"))
    steps = tuple(_decoder(config))
    return Chain(steps, next(cut for cut, step in enumerate(steps) if step.name.startswith("decoder.up_blocks.")))


def _decoder(config: QwenImageConfig) -> Iterator[Step]:
    widths = [config.base_dim * multiple for multiple in reversed(config.dim_mult)]  # from the latents' resolution up
    latent, width = config.z_dim, widths[0]
    yield Step("post_quant_conv", "conv", latent, latent, kernel=1)
    yield Step("decoder.conv_in", "conv", latent, width, frames=3)
    yield from mid_block("decoder.mid_block", width)
    for level, outputs in enumerate(widths):
        name = f"decoder.up_blocks.{level}"
        for block in range(config.num_res_blocks + 1):
            yield from resnet(f"{name}.resnets.{block}", outputs if block else width, outputs)
        width = outputs
        if level < len(widths) - 1:
            yield Step(f"{name}.upsamplers.0.resample.1", "conv", outputs, outputs // 2, resample=DOUBLE)
            width = outputs // 2
    yield conv_out("decoder", width, config.out_channels)


def _encoder(config: QwenImageConfig) -> Iterator[Step]:
    widths = [config.base_dim * multiple for multiple in config.dim_mult]  # from the picture's resolution down
    moments, width, block = 2 * config.z_dim, config.base_dim, 0
    yield Step("encoder.conv_in", "conv", config.in_channels, width)
    for level, outputs in enumerate(widths):
        for _ in range(config.num_res_blocks):
            yield from resnet(f"encoder.down_blocks.{block}", width, outputs)
            width, block = outputs, block + 1
        if level < len(widths) - 1:
            name = f"encoder.down_blocks.{block}.resample.1"
            yield Step(name, "conv", width, width, resample=HALVE, padding=Padding(0, 1))
            block += 1
    yield from mid_block("encoder.mid_block", width)
    yield conv_out("encoder", width, moments)
    yield Step("quant_conv", "conv", moments, moments, kernel=1)


def _norm(name: str) -> Norm:
    return Norm(name, 1, EPS, "rms")


def resnet(name: str, inputs: int, outputs: int, stays: bool = False) -> Iterator[Step]:
    """Yield a resnet. Its skip may stay open behind it."""
    first, second = (_norm(f"{name}.norm{number}") for number in (1, 2))
    skip = Skip(inputs, f"{name}.conv_shortcut" if inputs != outputs else None, stays=stays)
    yield Step(f"{name}.conv1", "conv", inputs, outputs, norm=first, activation="silu", opens=True, frames=3)
    yield Step(f"{name}.conv2", "conv", outputs, outputs, norm=second, activation="silu", closes=skip, frames=3)


def mid_block(name: str, width: int) -> Iterator[Step]:
    """Yield two resnets with an attention between them."""
    attention, norm = f"{name}.attentions.0", _norm(f"{name}.attentions.0.group_norm")
    yield from resnet(f"{name}.resnets.0", width, width)
    yield Step(attention, "attention", width, width, kernel=1, norm=norm, opens=True, closes=Skip(width))
    yield from resnet(f"{name}.resnets.1", width, width)


def conv_out(half: str, inputs: int, outputs: int) -> Step:
    """Return the last convolution of a half, behind its norm."""
    norm = _norm(f"{half}.conv_norm_out")
    return Step(f"{half}.conv_out", "conv", inputs, outputs, norm=norm, activation="silu", frames=3)


PRESETS: dict[str, QwenImageConfig] = {
    "qwen-image": QwenImageConfig(),  # Qwen/Qwen-Image, vae/config.json
    "qwen-image-layered": QwenImageConfig(input_channels=4),  # Qwen/Qwen-Image-Layered, vae/config.json
    "ming-image": QwenImageConfig(  # one factor for all channels, as mflux's MingVAE has it
        input_channels=4, latents_mean=(0.0,) * 16, latents_std=(1 / 8.0064,) * 16
    ),
}

REPOSITORIES: dict[str, tuple[str, ...]] = {
    "qwen-image": ("Qwen/Qwen-Image", "Qwen/Qwen-Image-2512", "Qwen/Qwen-Image-Edit", "Qwen/Qwen-Image-Edit-2509"),
    "qwen-image-layered": ("Qwen/Qwen-Image-Layered",),
}
"""Models on Hugging Face that hold the VAE of each preset."""

FAMILY = Family(QwenImageConfig, PRESETS, REPOSITORIES)
