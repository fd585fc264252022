"""AutoencoderTiny: TAESD, TAESDXL, TAESD3, TAEF1, TAEF2, TAESANA, TAEW: tiny decoders of the latents of other VAEs.

But for TAEF2's three norms, nothing is gathered over the picture. So a decode is one sweep, and tiles that overlap by
the Chain's reach are exact. Latents are read as a pipeline has them, scaled; pictures lie in [0, 1] inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from zvae_tiled.chain import DOUBLE, HALVE, Chain, Norm, Padding, Skip, Step
from zvae_tiled.chain.step import Activation
from zvae_tiled.checks import shown
from zvae_tiled.errors import ConfigError
from zvae_tiled.families.base import Family, LatentConvention, Task, VAEConfig
from zvae_tiled.families.checks import MAX_LEVELS, MAX_RESNETS, check_count, check_flag, frozen
from zvae_tiled.families.mosaic import Mosaic
from zvae_tiled.families.tiny_video import LEVELS, STORED, Laid, TinyVideo

CLAMP = 3.0
"""Latents are clamped to about this magnitude: 3 tanh(x / 3)."""

POOL_GROUPS, POOL_TIMES, POOL_EPS = 4, 4, 1e-5
"""Groups and eps of the norm of a pool, and how many times its channels are the block's."""


@dataclass(frozen=True)
class TinyConfig(VAEConfig):
    """The shape of an AutoencoderTiny; names and defaults are those of diffusers.

    Attributes:
        in_channels: Channels of the picture the encoder reads.
        out_channels: Channels of the picture the decoder writes.
        encoder_block_out_channels: Width of each level of the encoder, from the picture's resolution down.
        decoder_block_out_channels: Width of each level of the decoder, from the latents' resolution up.
        latent_channels: Channels of the latents.
        num_encoder_blocks: Blocks in each level of the encoder.
        num_decoder_blocks: Blocks in each level of the decoder.
        scaling_factor: Must be 1: latents are read scaled.
        shift_factor: Must be 0.
        encoder_stem: Widths of convolutions that halve the picture before the encoder's first level. diffusers has no
            such key.
        pools: Whether blocks at the latents' resolution begin with a norm over the whole map. diffusers has no such
            key.
        patch: Rows, and columns, of latents in one pixel of the pipeline's map: 1, or 2. diffusers has no such key.
        packs: Whether the encoder packs 2×2 pixels into one first, and the decoder unpacks them last. diffusers has no
            such key.
        memory: Whether it is TAEHV, whose blocks read the frame before, too: here a picture alone. diffusers has no
            such key.
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
    encoder_stem: tuple[int, ...] = ()
    pools: bool = False
    patch: int = 1
    packs: bool = False
    memory: bool = False

    def __post_init__(self) -> None:
        """Refuse a config that cannot be built.

        Raises:
            ConfigError: With the field's name.
        """
        for name in ("in_channels", "out_channels", "latent_channels"):
            check_count(name, getattr(self, name))
        check_flag("memory", self.memory)
        for half in ("encoder", "decoder"):
            for name in (f"{half}_block_out_channels", f"num_{half}_blocks"):
                object.__setattr__(self, name, frozen(getattr(self, name)))
            _check_half(f"{half}_block_out_channels", f"num_{half}_blocks", self)
        object.__setattr__(self, "encoder_stem", frozen(self.encoder_stem))
        check_flag("packs", self.packs)
        if self.packs and self.encoder_stem:
            raise ConfigError("packs must be false with encoder_stem: both halve the picture first")
        _check_stem(self)
        check_flag("pools", self.pools)
        check_count("patch", self.patch, 2)
        if self.memory:
            _check_memory(self)
        if self.scaling_factor != 1 or self.shift_factor != 0:
            raise ConfigError("scaling_factor must be 1 and shift_factor 0: an AutoencoderTiny reads scaled latents")

    @property
    def scale(self) -> int:
        """Picture pixels for one latent pixel, in each direction."""
        return int(2 ** (len(self.decoder_block_out_channels) - 1 + self.packs))

    @property
    def latents(self) -> LatentConvention:
        """As a pipeline has them, clamped; an encode gives them without a variance."""
        return LatentConvention(
            self.latent_channels * self.patch**2,
            self.patch,
            token=1 if self.packs else 2 // self.patch,
            clamp=CLAMP,
            deterministic=True,
            only_scaled=True,
        )

    def chain(self, task: Task) -> Chain:
        """Return the Chain of the decoder, or of the encoder."""
        if self.memory:
            return Chain(tuple(step for step, _ in self._video(task)))
        return Chain(tuple(_decoder(self) if task == "decode" else _encoder(self)))

    def mosaics(self) -> dict[str, Mosaic]:
        """Return how the weights of TAEHV are laid out for one picture."""
        if not self.memory:
            return {}
        tasks: tuple[Task, ...] = ("decode", "encode")
        return {step.name: how for task in tasks for step, how in self._video(task) if how != STORED}

    def _video(self, task: Task) -> Iterator[Laid]:
        """Yield the Steps of TAEHV's decoder, or encoder, each with how its weight is laid out."""
        if task == "decode":
            pixels, widths, blocks = self.out_channels, self.decoder_block_out_channels, self.num_decoder_blocks
        else:
            pixels, widths, blocks = self.in_channels, self.encoder_block_out_channels, self.num_encoder_blocks
        network = TinyVideo(self.latent_channels, pixels, widths, blocks, self.packs)
        return network.decoder() if task == "decode" else network.encoder()


def _check_stem(config: TinyConfig) -> None:
    stem = config.encoder_stem
    if not isinstance(stem, tuple) or len(stem) > MAX_LEVELS:
        raise ConfigError(f"encoder_stem must list at most {MAX_LEVELS} widths, it is {shown(stem)}")
    for number, width in enumerate(stem):
        check_count(f"encoder_stem[{number}]", width)
    if stem and stem[-1] != (first := config.encoder_block_out_channels[0]):
        raise ConfigError(f"encoder_stem must end with the encoder's first width, {first}, it ends with {stem[-1]}")
    down, up = len(stem) + len(config.encoder_block_out_channels), len(config.decoder_block_out_channels)
    if down != up:
        raise ConfigError(
            "decoder_block_out_channels must list as many levels as encoder_block_out_channels and encoder_stem do "
            f"together: it lists {up}, they list {down}"
        )


def _check_memory(config: TinyConfig) -> None:
    if config.encoder_stem or config.pools or config.patch != 1:
        raise ConfigError("memory must be false with encoder_stem, pools or patch: no TAEHV has them")
    if (levels := len(config.decoder_block_out_channels)) != LEVELS:
        raise ConfigError(f"decoder_block_out_channels must list {LEVELS} widths with memory, it lists {levels}")


def _check_half(widths: str, blocks: str, config: TinyConfig) -> None:
    listed, counts = getattr(config, widths), getattr(config, blocks)
    if not isinstance(listed, tuple) or not 1 <= len(listed) <= MAX_LEVELS:
        raise ConfigError(f"{widths} must list 1 to {MAX_LEVELS} widths, it is {shown(listed)}")
    for level, width in enumerate(listed):
        check_count(f"{widths}[{level}]", width)
    if not isinstance(counts, tuple) or len(counts) != len(listed):
        raise ConfigError(f"{blocks} must list {len(listed)} numbers, as {widths} does, it is {shown(counts)}")
    picture = 0 if blocks == "num_encoder_blocks" else len(counts) - 1
    for level, count in enumerate(counts):
        if not config.memory or level != picture:
            check_count(f"{blocks}[{level}]", count, MAX_RESNETS)
        elif type(count) is not int or count != 0:
            raise ConfigError(f"{blocks}[{level}] must be 0 with memory, it is {shown(count)}")
    if sum(counts) > MAX_RESNETS:
        raise ConfigError(f"{blocks} lists {sum(counts)} blocks, at most {MAX_RESNETS} are planned")


def _decoder(config: TinyConfig) -> Iterator[Step]:
    widths, layer = config.decoder_block_out_channels, 2  # layer 1 is the ReLU behind the first convolution
    yield Step("decoder.layers.0", "conv", config.latent_channels, widths[0])
    relu, last = True, len(widths) - 1
    for level, (width, blocks) in enumerate(zip(widths, config.num_decoder_blocks, strict=True)):
        for _ in range(blocks):
            yield from _block(f"decoder.layers.{layer}", width, relu, config.pools and level == 0)
            relu, layer = True, layer + 1
        if level == last:
            wider = config.out_channels * (4 if config.packs else 1)
            yield Step(f"decoder.layers.{layer}", "conv", width, wider, activation="relu")
            if config.packs:
                yield _shuffle(f"decoder.layers.{layer + 1}", wider, config.out_channels)
        else:
            name, wider = f"decoder.layers.{layer + 1}", widths[level + 1]
            yield Step(name, "conv", width, wider, activation="relu", resample=DOUBLE, bias=False)
        relu, layer = False, layer + 2


def _encoder(config: TinyConfig) -> Iterator[Step]:
    width, layer, relu = config.in_channels, 0, False
    if config.packs:
        yield _shuffle("encoder.layers.0", width, 4 * width)
        width, layer = 4 * width, 1
    for each in config.encoder_stem:
        yield _halving(f"encoder.layers.{layer}", width, each, relu)
        width, layer, relu = each, layer + 2, True  # a ReLU is a layer of its own here
    last = len(config.encoder_block_out_channels) - 1
    for level, blocks in enumerate(config.num_encoder_blocks):
        outputs = config.encoder_block_out_channels[level]
        if level == 0 and not config.encoder_stem:
            yield Step(f"encoder.layers.{layer}", "conv", width, outputs)
            # Behind a packing, the first convolution's ReLU is a layer of its own.
            layer, relu = layer + (2 if config.packs else 1), config.packs
        elif level > 0:
            yield _halving(f"encoder.layers.{layer}", width, outputs, relu=True, bias=False)
            layer, relu = layer + 1, False
        width = outputs
        for _ in range(blocks):
            yield from _block(f"encoder.layers.{layer}", width, relu, config.pools and level == last)
            relu, layer = True, layer + 1
    yield Step(f"encoder.layers.{layer}", "conv", width, config.latent_channels, activation="relu")


def _shuffle(name: str, inputs: int, outputs: int) -> Step:
    return Step(name, "shuffle", inputs, outputs, kernel=1, resample=DOUBLE if outputs < inputs else HALVE)


def _halving(name: str, inputs: int, outputs: int, relu: bool, bias: bool = True) -> Step:
    activation: Activation = "relu" if relu else "none"
    return Step(name, "conv", inputs, outputs, activation=activation, resample=HALVE, padding=Padding(1, 1), bias=bias)


def _block(name: str, width: int, relu: bool, pool: bool) -> Iterator[Step]:
    """Yield three convolutions, and a skip around them. ReLU behind a sum is applied where the sum is read."""
    first: Activation = "relu" if relu else "none"
    if pool:
        wide, norm = POOL_TIMES * width, Norm(f"{name}.pool.1", POOL_GROUPS, POOL_EPS)
        into, out, skip = f"{name}.pool.0", f"{name}.pool.3", Skip(width, relu=relu)
        yield Step(into, "conv", width, wide, kernel=1, activation=first, opens=True, bias=False)
        yield Step(out, "conv", wide, width, kernel=1, norm=norm, activation="relu", closes=skip, bias=False)
        relu, first = False, "none"
    yield Step(f"{name}.conv.0", "conv", width, width, activation=first, opens=True)
    yield Step(f"{name}.conv.2", "conv", width, width, activation="relu")
    yield Step(f"{name}.conv.4", "conv", width, width, activation="relu", closes=Skip(width, relu=relu))


_FOUR, _SIXTEEN = TinyConfig(), TinyConfig(latent_channels=16)
_FLUX2 = TinyConfig(latent_channels=32, pools=True, patch=2)
_SANA = TinyConfig(
    latent_channels=32,
    encoder_stem=(32, 64),
    decoder_block_out_channels=(256, 128, 64, 64, 64, 64),
    num_decoder_blocks=(3, 3, 3, 3, 3, 1),
)
_QWEN = TinyConfig(
    in_channels=4,
    out_channels=4,
    latent_channels=64,
    encoder_block_out_channels=(64, 64, 128, 256),
    decoder_block_out_channels=(256, 128, 64, 64),
    packs=True,
)
_WAN = TinyConfig(
    latent_channels=16,
    decoder_block_out_channels=(256, 128, 64, 64),
    num_encoder_blocks=(0, 3, 3, 3),
    num_decoder_blocks=(3, 3, 3, 0),
    memory=True,
)

PRESETS: dict[str, TinyConfig] = {
    "taesd": _FOUR,  # madebyollin/taesd, config.json
    "taesdxl": _FOUR,  # madebyollin/taesdxl, config.json
    "taesd3": _SIXTEEN,  # madebyollin/taesd3, config.json
    "taef1": _SIXTEEN,  # madebyollin/taef1, config.json
    "taef2": _FLUX2,  # github.com/madebyollin/taesd, taesd.py, as the next two
    "taesana": _SANA,
    "taeqi2_1": _QWEN,
    "taew2_1": _WAN,  # github.com/madebyollin/taehv, taehv.py, as the next one
    "taew2_2": replace(_WAN, latent_channels=48, packs=True),
}

REPOSITORIES: dict[str, tuple[str, ...]] = {
    name: (f"Kijai/WanVideo_comfy/{name}.safetensors" if config.memory else f"madebyollin/{name}",)
    for name, config in PRESETS.items()
    if name != "taesana"
}
"""Models on Hugging Face that hold the VAE of each preset. Of Wan's, many more files are beside it."""

TINY_OF: dict[str, str] = {
    "sd1": "taesd",
    "sdxl": "taesdxl",
    "sdxl-fp16-fix": "taesdxl",
    "sd3": "taesd3",
    "flux1": "taef1",
    "z-image": "taef1",
    "flux2": "taef2",
    "flux2-small": "taef2",
    "qwen-image": "taew2_1",
    "qwen-image-2.1": "taeqi2_1",
    "wan2.1": "taew2_1",
    "wan2.2": "taew2_2",
    "sana": "taesana",
}
"""Presets of other families with the tiny decoder of the same latents."""

FAMILY = Family(TinyConfig, PRESETS, REPOSITORIES)
