"""AutoencoderDC: the VAE of SANA, thirty-two pixels a latent, whose attentions are linear.

Blocks are convolutions with an RMS norm behind them, or a linear attention and a gated depthwise convolution. Samplers
have a skip of repeated or averaged channels. What the encoder gives are latents, not a distribution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from zvae_tiled.chain import DOUBLE, HALVE, Chain, Padding, Skip, Spread, Step
from zvae_tiled.checks import shown
from zvae_tiled.errors import ConfigError
from zvae_tiled.families.base import Family, LatentConvention, Task, VAEConfig
from zvae_tiled.families.checks import MAX_RESNETS, check_count, check_number, check_widths, frozen

BLOCKS = ("ResBlock", "EfficientViTBlock")
"""The kinds of blocks."""

MAX_STATE = 1 << 19
"""Numbers that a linear attention gathers, at most: 5.6 MB in a work folder's note. SANA's widest gather 67,584."""


@dataclass(frozen=True)
class DCConfig(VAEConfig):
    """The shape of an AutoencoderDC; names are those of diffusers.

    Attributes:
        in_channels: Channels of the picture, of encoder and decoder.
        latent_channels: Channels of the latents.
        attention_head_dim: Channels of a head of the attentions.
        encoder_block_types: The kind of the encoder's blocks: one for each level, or one for all.
        decoder_block_types: The kind of the decoder's blocks.
        encoder_block_out_channels: Width of each level of the encoder, from the picture's resolution to the latents'.
        decoder_block_out_channels: Width of each level of the decoder, in the same order.
        encoder_layers_per_block: Blocks in each level of the encoder.
        decoder_layers_per_block: Blocks in each level of the decoder.
        encoder_qkv_multiscales: For each level, windows through which an attention looks at its map besides.
        decoder_qkv_multiscales: The same of the decoder.
        scaling_factor: A pipeline's latents are the encoder's, multiplied by it.
    """

    class_name: ClassVar[str] = "AutoencoderDC"
    only: ClassVar[dict[str, object]] = {
        "upsample_block_type": "interpolate",
        "downsample_block_type": "Conv",
        "decoder_norm_types": "rms_norm",
        "decoder_act_fns": "silu",
        "encoder_out_shortcut": True,
        "decoder_in_shortcut": True,
        "decoder_conv_act_fn": "relu",
    }

    in_channels: int = 3
    latent_channels: int = 32
    attention_head_dim: int = 32
    encoder_block_types: str | tuple[str, ...] = "ResBlock"
    decoder_block_types: str | tuple[str, ...] = "ResBlock"
    encoder_block_out_channels: tuple[int, ...] = (128, 256, 512, 512, 1024, 1024)
    decoder_block_out_channels: tuple[int, ...] = (128, 256, 512, 512, 1024, 1024)
    encoder_layers_per_block: tuple[int, ...] = (2, 2, 2, 3, 3, 3)
    decoder_layers_per_block: tuple[int, ...] = (3, 3, 3, 3, 3, 3)
    encoder_qkv_multiscales: tuple[tuple[int, ...], ...] = ((), (), (), (5,), (5,), (5,))
    decoder_qkv_multiscales: tuple[tuple[int, ...], ...] = ((), (), (), (5,), (5,), (5,))
    scaling_factor: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a config that cannot be built.

        Raises:
            ConfigError: With the field's name.
        """
        for name in ("in_channels", "latent_channels", "attention_head_dim"):
            check_count(name, getattr(self, name))
        check_number("scaling_factor", self.scaling_factor)
        if self.scaling_factor <= 0:
            raise ConfigError(f"scaling_factor must be above 0, it is {self.scaling_factor}")
        for half in ("encoder", "decoder"):
            self._check_half(half)
        if len(self.encoder_block_out_channels) != len(self.decoder_block_out_channels):
            raise ConfigError(
                "decoder_block_out_channels must list as many widths as encoder_block_out_channels, "
                f"{len(self.encoder_block_out_channels)}; it lists {len(self.decoder_block_out_channels)}"
            )

    def _check_half(self, half: str) -> None:
        names = [
            f"{half}_{name}" for name in ("block_out_channels", "layers_per_block", "block_types", "qkv_multiscales")
        ]
        for name in names:
            object.__setattr__(self, name, frozen(getattr(self, name)))
        widths, layers, kinds, windows = (getattr(self, name) for name in names)
        check_widths(names[0], widths, 1)
        levels = len(widths)
        if isinstance(kinds, str):
            kinds = (kinds,) * levels
            object.__setattr__(self, names[2], kinds)
        for name, values in zip(names[1:], (layers, kinds, windows), strict=True):
            if not isinstance(values, tuple) or len(values) != levels:
                raise ConfigError(f"{name} must list {levels} values, one a level, it is {shown(values)}")
        windows = tuple(map(frozen, windows))
        object.__setattr__(self, names[3], windows)
        for level, (width, count, kind, window) in enumerate(zip(widths, layers, kinds, windows, strict=True)):
            check_count(f"{names[1]}[{level}]", count)
            if kind not in BLOCKS:
                raise ConfigError(f"{names[2]}[{level}] must be one of {', '.join(BLOCKS)}, it is {shown(kind)}")
            _check_windows(f"{names[3]}[{level}]", window)
            if kind == "EfficientViTBlock":
                self._check_attention(f"{names[0]}[{level}]", width, 1 + len(window))
        if sum(layers) > MAX_RESNETS:
            raise ConfigError(f"{names[1]}: {sum(layers):,} blocks, at most {MAX_RESNETS} are planned")
        if widths[-1] % self.latent_channels:
            raise ConfigError(
                f"latent_channels must divide the last of {names[0]}, {widths[-1]}; it is {self.latent_channels}"
            )
        for above, below in pairwise(widths):
            if 4 * above % below:
                raise ConfigError(f"{names[0]}: {below} does not divide 4 times {above}, the level before it")

    def _check_attention(self, name: str, width: int, maps: int) -> None:
        head = self.attention_head_dim
        if width % head:
            raise ConfigError(f"attention_head_dim must divide {name}, {width}; it is {head}")
        if (gathered := maps * width * (head + 1)) > MAX_STATE:
            raise ConfigError(
                f"attention_head_dim is {head} and {name} is {width}: an attention gathers {gathered:,} numbers, "
                f"at most {MAX_STATE:,} are planned",
                "Check both; SANA has heads of 32 channels and a width of 1,024.",
            )

    @property
    def out_channels(self) -> int:
        """Channels of the picture the decoder writes."""
        return self.in_channels

    @property
    def scale(self) -> int:
        """Picture pixels for one latent pixel, in each direction."""
        return int(2 ** (len(self.decoder_block_out_channels) - 1))

    @property
    def latents(self) -> LatentConvention:
        """One factor; a token is one latent."""
        return LatentConvention(self.latent_channels, token=1, scaling=self.scaling_factor, deterministic=True)

    def chain(self, task: Task) -> Chain:
        """Return the Chain of the decoder, or of the encoder."""
        half: Literal["encoder", "decoder"] = "encoder" if task == "encode" else "decoder"
        steps = tuple(_encoder(self) if task == "encode" else _decoder(self))
        first = (
            f"{half}.conv_out" if task == "encode" else f"{half}.up_blocks.{len(self.decoder_block_out_channels) - 2}."
        )
        middle = next((cut for cut, step in enumerate(steps) if step.name.startswith(first)), len(steps) - 2)
        return Chain(steps, middle)


def _check_windows(name: str, windows: object) -> None:
    sound = isinstance(windows, tuple) and len(windows) <= 1
    if not sound or any(type(each) is not int or each not in (3, 5, 7) for each in windows):  # type: ignore[attr-defined]
        raise ConfigError(f"{name} must list no window, or one of 3, 5 or 7 pixels, it is {shown(windows)}")


def _decoder(config: DCConfig) -> Iterator[Step]:
    widths, latent = config.decoder_block_out_channels, config.latent_channels
    width = widths[-1]
    yield _around("decoder.conv_in", latent, width)
    for level in reversed(range(len(widths))):
        name, block = f"decoder.up_blocks.{level}", 0
        if level < len(widths) - 1:
            skip = Skip(width, spread=Spread(width, widths[level], up=2))
            yield Step(f"{name}.0.conv", "conv", width, widths[level], resample=DOUBLE, opens=True, closes=skip)
            block = 1
        width = widths[level]
        yield from _blocks(config, "decoder", level, name, block)
    yield Step("decoder.conv_norm_out", "rms", width, width, kernel=1)
    yield Step("decoder.conv_out", "conv", width, config.in_channels, activation="relu")


def _encoder(config: DCConfig) -> Iterator[Step]:
    widths = config.encoder_block_out_channels
    yield Step("encoder.conv_in", "conv", config.in_channels, widths[0])
    for level, width in enumerate(widths):
        name = f"encoder.down_blocks.{level}"
        yield from _blocks(config, "encoder", level, name, 0)
        if level < len(widths) - 1:
            sampler, below = f"{name}.{config.encoder_layers_per_block[level]}.conv", widths[level + 1]
            skip = Skip(width, spread=Spread(width, below, down=2))
            yield Step(sampler, "conv", width, below, resample=HALVE, padding=Padding(1, 1), opens=True, closes=skip)
    yield _around("encoder.conv_out", widths[-1], config.latent_channels)


def _around(name: str, inputs: int, outputs: int) -> Step:
    """Return a convolution with a skip around itself, whose channels are repeated or averaged."""
    skip = Skip(inputs, spread=Spread(inputs, outputs)) if inputs != outputs else Skip(inputs)
    return Step(name, "conv", inputs, outputs, opens=True, closes=skip)


def _blocks(config: DCConfig, half: str, level: int, name: str, first: int) -> Iterator[Step]:
    kind, width, layers, windows = (
        getattr(config, f"{half}_{field}")[level]
        for field in ("block_types", "block_out_channels", "layers_per_block", "qkv_multiscales")
    )
    for block in range(first, first + layers):
        if kind == "ResBlock":
            yield from _resnet(f"{name}.{block}", width)
        else:
            yield from _attention(f"{name}.{block}.attn", width, config.attention_head_dim, windows)
            yield from _gated(f"{name}.{block}.conv_out", width)


def _resnet(name: str, width: int) -> Iterator[Step]:
    yield Step(f"{name}.conv1", "conv", width, width, opens=True)
    yield Step(f"{name}.conv2", "conv", width, width, activation="silu", bias=False)
    yield Step(f"{name}.norm", "rms", width, width, kernel=1, closes=Skip(width))


def _attention(name: str, width: int, head: int, windows: tuple[int, ...]) -> Iterator[Step]:
    parts = tuple(f"{name}.{part}" for part in ("to_q", "to_k", "to_v"))
    mapped, seen = 3 * width, 3 * width * (1 + len(windows))
    yield Step(f"{name}.to_qkv", "conv", width, mapped, kernel=1, opens=True, bias=False, parts=parts)
    for window in windows:
        yield Step(f"{name}.to_qkv_multiscale.0", "scales", mapped, seen, kernel=window, head=head)
    yield Step(name, "linear", seen, seen // 3, kernel=1, head=head)
    yield Step(f"{name}.to_out", "conv", seen // 3, width, kernel=1, bias=False)
    yield Step(f"{name}.norm_out", "rms", width, width, kernel=1, closes=Skip(width))


def _gated(name: str, width: int) -> Iterator[Step]:
    yield Step(f"{name}.conv_inverted", "conv", width, 8 * width, kernel=1, opens=True)
    yield Step(f"{name}.conv_depth", "gated", 8 * width, 4 * width, activation="silu")
    yield Step(f"{name}.conv_point", "conv", 4 * width, width, kernel=1, bias=False)
    yield Step(f"{name}.norm", "rms", width, width, kernel=1, closes=Skip(width))


_TYPES = (*("ResBlock",) * 3, *("EfficientViTBlock",) * 3)

PRESETS: dict[str, DCConfig] = {
    # Efficient-Large-Model/Sana_1600M_1024px_diffusers, vae/config.json
    "sana": DCConfig(encoder_block_types=_TYPES, decoder_block_types=_TYPES, scaling_factor=0.41407)
}

REPOSITORIES: dict[str, tuple[str, ...]] = {
    "sana": (
        "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers",
        "Efficient-Large-Model/Sana_1600M_1024px_diffusers",
        "Efficient-Large-Model/SANA1.5_1.6B_1024px_diffusers",
        "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers",
        "mit-han-lab/dc-ae-f32c32-sana-1.1-diffusers",
        "mit-han-lab/dc-ae-f32c32-sana-1.0-diffusers",
    )
}
"""Models on Hugging Face that hold the VAE of each preset."""

FAMILY = Family(DCConfig, PRESETS, REPOSITORIES)
