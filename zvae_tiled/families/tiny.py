"""AutoencoderTiny: TAESD, TAESDXL, TAESD3 and TAEF1, tiny decoders of the latents of other VAEs.

Nothing is gathered over the picture: there is no norm and no attention. So a decode is one sweep, and tiles that
overlap by the Chain's reach are exact. Latents are read as a pipeline has them, scaled; pictures lie in [0, 1] inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from zvae_tiled.chain import DOUBLE, HALVE, Chain, Padding, Skip, Step
from zvae_tiled.chain.step import Activation
from zvae_tiled.errors import ConfigError
from zvae_tiled.families.base import Family, LatentConvention, Task, VAEConfig
from zvae_tiled.families.checks import MAX_LEVELS, MAX_RESNETS, check_count, frozen, short

CLAMP = 3.0
"""Latents are clamped to about this magnitude: 3 tanh(x / 3)."""


@dataclass(frozen=True)
class TinyConfig(VAEConfig):
    """The shape of an AutoencoderTiny; names and defaults are those of diffusers.

    Attributes:
        in_channels: Channels of the picture the encoder reads.
        out_channels: Channels of the picture the decoder writes.
        encoder_block_out_channels: Width of each level of the encoder, which must be equal.
        decoder_block_out_channels: Width of each level of the decoder, which must be equal.
        latent_channels: Channels of the latents.
        num_encoder_blocks: Blocks in each level of the encoder, from the picture's resolution down.
        num_decoder_blocks: Blocks in each level of the decoder, from the latents' resolution up.
        scaling_factor: Must be 1: latents are read scaled.
        shift_factor: Must be 0.
    """

    class_name: ClassVar[str] = "AutoencoderTiny"
    harmless: ClassVar[frozenset[str]] = frozenset(
        {"block_out_channels", "latent_magnitude", "latent_shift", "force_upcast"}
    )
    only: ClassVar[dict[str, object]] = {
        "act_fn": "relu",
        "upsample_fn": "nearest",
        "upsampling_scaling_factor": 2,
    }
    unit: ClassVar[bool] = True

    in_channels: int = 3
    out_channels: int = 3
    encoder_block_out_channels: tuple[int, ...] = (64, 64, 64, 64)
    decoder_block_out_channels: tuple[int, ...] = (64, 64, 64, 64)
    latent_channels: int = 4
    num_encoder_blocks: tuple[int, ...] = (1, 3, 3, 3)
    num_decoder_blocks: tuple[int, ...] = (3, 3, 3, 1)
    scaling_factor: float = 1.0
    shift_factor: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a config that cannot be built.

        Raises:
            ConfigError: With the field's name.
        """
        for name in ("in_channels", "out_channels", "latent_channels"):
            check_count(name, getattr(self, name))
        for half in ("encoder", "decoder"):
            for name in (f"{half}_block_out_channels", f"num_{half}_blocks"):
                object.__setattr__(self, name, frozen(getattr(self, name)))
            _check_half(f"{half}_block_out_channels", f"num_{half}_blocks", self)
        if len(self.encoder_block_out_channels) != len(self.decoder_block_out_channels):
            raise ConfigError("encoder_block_out_channels and decoder_block_out_channels must list as many levels")
        if self.scaling_factor != 1 or self.shift_factor != 0:
            raise ConfigError("scaling_factor must be 1 and shift_factor 0: an AutoencoderTiny reads scaled latents")

    @property
    def scale(self) -> int:
        """Picture pixels for one latent pixel, in each direction."""
        return int(2 ** (len(self.decoder_block_out_channels) - 1))

    @property
    def latents(self) -> LatentConvention:
        """As a pipeline has them, clamped; an encode gives them without a variance."""
        return LatentConvention(self.latent_channels, clamp=CLAMP, deterministic=True, only_scaled=True)

    def chain(self, task: Task) -> Chain:
        """Return the Chain of the decoder, or of the encoder."""
        return Chain(tuple(_decoder(self) if task == "decode" else _encoder(self)))


def _check_half(widths: str, blocks: str, config: TinyConfig) -> None:
    listed, counts = getattr(config, widths), getattr(config, blocks)
    if not isinstance(listed, tuple) or not 1 <= len(listed) <= MAX_LEVELS:
        raise ConfigError(f"{widths} must list 1 to {MAX_LEVELS} equal widths, it is {short(listed)}")
    for level, width in enumerate(listed):
        check_count(f"{widths}[{level}]", width)
    if len(set(listed)) != 1:
        raise ConfigError(f"{widths} must list 1 to {MAX_LEVELS} equal widths, it is {short(listed)}")
    if not isinstance(counts, tuple) or len(counts) != len(listed):
        raise ConfigError(f"{blocks} must list {len(listed)} numbers, as {widths} does, it is {short(counts)}")
    for level, count in enumerate(counts):
        check_count(f"{blocks}[{level}]", count, MAX_RESNETS)
    if sum(counts) > MAX_RESNETS:
        raise ConfigError(f"{blocks} lists {sum(counts)} blocks, at most {MAX_RESNETS} are planned")


def _decoder(config: TinyConfig) -> Iterator[Step]:
    width, layer = config.decoder_block_out_channels[0], 2  # layer 1 is the ReLU behind the first convolution
    yield Step("decoder.layers.0", "conv", config.latent_channels, width)
    relu = True
    for level, blocks in enumerate(config.num_decoder_blocks):
        for _ in range(blocks):
            yield from _block(f"decoder.layers.{layer}", width, relu)
            relu, layer = True, layer + 1
        if level == len(config.num_decoder_blocks) - 1:
            yield Step(f"decoder.layers.{layer}", "conv", width, config.out_channels, activation="relu")
        else:
            name = f"decoder.layers.{layer + 1}"
            yield Step(name, "conv", width, width, activation="relu", resample=DOUBLE, bias=False)
        relu, layer = False, layer + 2


def _encoder(config: TinyConfig) -> Iterator[Step]:
    width, layer = config.encoder_block_out_channels[0], 0
    for level, blocks in enumerate(config.num_encoder_blocks):
        name = f"encoder.layers.{layer}"
        if level == 0:
            yield Step(name, "conv", config.in_channels, width)
        else:
            yield Step(name, "conv", width, width, activation="relu", resample=HALVE, padding=Padding(1, 1), bias=False)
        relu, layer = False, layer + 1
        for _ in range(blocks):
            yield from _block(f"encoder.layers.{layer}", width, relu)
            relu, layer = True, layer + 1
    yield Step(f"encoder.layers.{layer}", "conv", width, config.latent_channels, activation="relu")


def _block(name: str, width: int, relu: bool) -> Iterator[Step]:
    """Yield three convolutions, and a skip around them. ReLU behind the sum is applied where the sum is read."""
    first: Activation = "relu" if relu else "none"
    yield Step(f"{name}.conv.0", "conv", width, width, activation=first, opens=True)
    yield Step(f"{name}.conv.2", "conv", width, width, activation="relu")
    yield Step(f"{name}.conv.4", "conv", width, width, activation="relu", closes=Skip(width, relu=relu))


_FOUR, _SIXTEEN = TinyConfig(), TinyConfig(latent_channels=16)

PRESETS: dict[str, TinyConfig] = {
    "taesd": _FOUR,  # madebyollin/taesd, config.json
    "taesdxl": _FOUR,  # madebyollin/taesdxl, config.json
    "taesd3": _SIXTEEN,  # madebyollin/taesd3, config.json
    "taef1": _SIXTEEN,  # madebyollin/taef1, config.json
}

REPOSITORIES: dict[str, tuple[str, ...]] = {name: (f"madebyollin/{name}",) for name in PRESETS}
"""Models on Hugging Face that hold the VAE of each preset."""

FAMILY = Family(TinyConfig, PRESETS, REPOSITORIES)
