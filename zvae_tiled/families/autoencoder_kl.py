"""AutoencoderKL: SD 1.x, SDXL, SD3, FLUX.1, Z-Image, and their kin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from zvae_tiled.chain import DOUBLE, HALVE, Chain, Norm, Padding, Skip, Step
from zvae_tiled.checks import shown
from zvae_tiled.errors import ConfigError
from zvae_tiled.families.base import Family, LatentConvention, Task, VAEConfig
from zvae_tiled.families.checks import (
    check_count,
    check_flag,
    check_means,
    check_number,
    check_resnets,
    check_widths,
    frozen,
)


@dataclass(frozen=True)
class AutoencoderKLConfig(VAEConfig):
    """The shape of an AutoencoderKL; names and defaults are those of diffusers.

    Attributes:
        in_channels: Channels of the picture the encoder reads.
        out_channels: Channels of the picture the decoder writes.
        latent_channels: Channels of the latents.
        block_out_channels: Width of each level, from the picture's resolution down to the latents'.
        layers_per_block: Resnets in each level of the encoder; the decoder has one more in each.
        norm_num_groups: Groups of every GroupNorm.
        down_block_types: ``DownEncoderBlock2D`` for each level.
        up_block_types: ``UpDecoderBlock2D`` for each level.
        scaling_factor: A pipeline's latents are the encoder's, multiplied by it.
        shift_factor: Subtracted before that, if any.
        latents_mean: Subtracted from each channel before that, in place of one shift, if any.
        latents_std: Each channel is divided by it before that, if any.
        use_quant_conv: Whether a 1×1 convolution follows the encoder.
        use_post_quant_conv: Whether a 1×1 convolution precedes the decoder.
        mid_block_add_attention: Whether the middle block attends over the whole picture.
        force_upcast: Whether the published weights overflow in float16.
    """

    class_name: ClassVar[str] = "AutoencoderKL"
    only: ClassVar[dict[str, object]] = {"act_fn": "silu"}

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    norm_num_groups: int = 32
    down_block_types: tuple[str, ...] = field(default=())
    up_block_types: tuple[str, ...] = field(default=())
    scaling_factor: float = 0.18215
    shift_factor: float | None = None
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[float, ...] | None = None
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True
    force_upcast: bool = True

    def __post_init__(self) -> None:
        for name in ("block_out_channels", "down_block_types", "up_block_types", "latents_mean", "latents_std"):
            object.__setattr__(self, name, frozen(getattr(self, name)))
        levels = len(self.block_out_channels) if isinstance(self.block_out_channels, tuple) else 0
        for name, block in (
            ("down_block_types", "DownEncoderBlock2D"),
            ("up_block_types", "UpDecoderBlock2D"),
        ):
            if getattr(self, name) == ():
                object.__setattr__(self, name, (block,) * levels)
        _check(self)

    @property
    def scale(self) -> int:
        """Picture pixels for one latent pixel, in each direction."""
        return int(2 ** (len(self.block_out_channels) - 1))

    @property
    def latents(self) -> LatentConvention:
        """One factor, and one shift for all channels, or a mean and a deviation for each."""
        # GLM-Image's pipeline has means and deviations, and does not use the scaling_factor of its config. No other
        # VAE without attention has means.
        unscaled = self.latents_mean is not None and not self.mid_block_add_attention
        return LatentConvention(
            self.latent_channels,
            scaling=1.0 if unscaled else self.scaling_factor,
            shift=self.shift_factor or 0.0,
            mean=self.latents_mean or (),
            std=self.latents_std or (),
        )

    def chain(self, task: Task) -> Chain:
        """Return the Chain of the decoder, or of the encoder."""
        return decoder_chain(self) if task == "decode" else encoder_chain(self)


def _check(config: AutoencoderKLConfig) -> None:
    for name in ("in_channels", "out_channels", "latent_channels", "layers_per_block", "norm_num_groups"):
        check_count(name, getattr(config, name))
    widths = config.block_out_channels
    check_widths("block_out_channels", widths, config.norm_num_groups)
    check_resnets(len(widths), config.layers_per_block)
    for name, block in (("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")):
        kinds = getattr(config, name)
        if kinds != (block,) * len(widths):
            raise ConfigError(f"{name} must be {block!r} once for each of {len(widths)} levels, it is {shown(kinds)}")
    for name in ("use_quant_conv", "use_post_quant_conv", "mid_block_add_attention", "force_upcast"):
        check_flag(name, getattr(config, name))
    check_number("scaling_factor", config.scaling_factor)
    if config.scaling_factor <= 0:
        raise ConfigError(f"scaling_factor must be above 0, it is {config.scaling_factor}")
    if config.shift_factor is not None:
        check_number("shift_factor", config.shift_factor)
    if config.latents_mean is not None or config.latents_std is not None:
        check_means(config.latents_mean, config.latents_std, config.latent_channels)
        if not config.mid_block_add_attention and config.scaling_factor not in (1.0, 0.18215):
            raise ConfigError(
                f"scaling_factor is {config.scaling_factor} beside latents_mean, without attention: the only such VAE "
                "is GLM-Image's, whose pipeline does not use it (1, or 0.18215, the default of diffusers)"
            )
        if config.shift_factor:
            raise ConfigError("shift_factor and latents_mean are both set; only one of them can be subtracted")


def decoder_chain(config: AutoencoderKLConfig) -> Chain:
    """Build the decoder's Chain from the config alone."""
    steps = tuple(_decoder(config))
    middle = next(cut for cut, step in enumerate(steps) if step.name.startswith("decoder.up_blocks."))
    return Chain(steps, middle)


def encoder_chain(config: AutoencoderKLConfig) -> Chain:
    """Build the encoder's Chain from the config alone. Its output is mean and log-variance."""
    steps = tuple(_encoder(config))
    middle = next(cut for cut, step in enumerate(steps) if step.name == "encoder.conv_out")
    return Chain(steps, middle)


def _decoder(config: AutoencoderKLConfig) -> Iterator[Step]:
    widths, groups = config.block_out_channels[::-1], config.norm_num_groups  # from the latents' resolution up
    latent, width = config.latent_channels, widths[0]
    if config.use_post_quant_conv:
        yield Step("post_quant_conv", "conv", latent, latent, kernel=1)
    yield Step("decoder.conv_in", "conv", latent, width)
    yield from _mid_block("decoder.mid_block", width, groups, config.mid_block_add_attention)
    for level, outputs in enumerate(widths):
        last = level == len(widths) - 1
        yield from _up_block(
            f"decoder.up_blocks.{level}", width, outputs, config.layers_per_block + 1, groups, not last
        )
        width = outputs
    yield _conv_out("decoder", width, config.out_channels, groups)


def _encoder(config: AutoencoderKLConfig) -> Iterator[Step]:
    widths, groups = config.block_out_channels, config.norm_num_groups  # from the picture's resolution down
    moments, width = 2 * config.latent_channels, widths[0]
    yield Step("encoder.conv_in", "conv", config.in_channels, width)
    for level, outputs in enumerate(widths):
        last = level == len(widths) - 1
        yield from _down_block(
            f"encoder.down_blocks.{level}", width, outputs, config.layers_per_block, groups, not last
        )
        width = outputs
    yield from _mid_block("encoder.mid_block", width, groups, config.mid_block_add_attention)
    yield _conv_out("encoder", width, moments, groups)
    if config.use_quant_conv:
        yield Step("quant_conv", "conv", moments, moments, kernel=1)


def _up_block(name: str, inputs: int, outputs: int, layers: int, groups: int, upsample: bool) -> Iterator[Step]:
    for layer in range(layers):
        yield from _resnet(f"{name}.resnets.{layer}", outputs if layer else inputs, outputs, groups)
    if upsample:
        yield Step(f"{name}.upsamplers.0.conv", "conv", outputs, outputs, resample=DOUBLE)


def _down_block(name: str, inputs: int, outputs: int, layers: int, groups: int, downsample: bool) -> Iterator[Step]:
    for layer in range(layers):
        yield from _resnet(f"{name}.resnets.{layer}", outputs if layer else inputs, outputs, groups)
    if downsample:
        yield Step(f"{name}.downsamplers.0.conv", "conv", outputs, outputs, resample=HALVE, padding=Padding(0, 1))


def _mid_block(name: str, width: int, groups: int, attention: bool) -> Iterator[Step]:
    yield from _resnet(f"{name}.resnets.0", width, width, groups)
    if attention:
        yield _attention(f"{name}.attentions.0", width, groups)
    yield from _resnet(f"{name}.resnets.1", width, width, groups)


def _attention(name: str, width: int, groups: int) -> Step:
    norm = Norm(f"{name}.group_norm", groups)
    return Step(name, "attention", width, width, kernel=1, norm=norm, opens=True, closes=Skip(width))


def _resnet(name: str, inputs: int, outputs: int, groups: int) -> Iterator[Step]:
    first, second = (Norm(f"{name}.norm{number}", groups) for number in (1, 2))
    shortcut = f"{name}.conv_shortcut" if inputs != outputs else None
    yield Step(f"{name}.conv1", "conv", inputs, outputs, norm=first, activation="silu", opens=True)
    skip = Skip(inputs, shortcut)
    yield Step(f"{name}.conv2", "conv", outputs, outputs, norm=second, activation="silu", closes=skip)


def _conv_out(half: str, inputs: int, outputs: int, groups: int) -> Step:
    norm = Norm(f"{half}.conv_norm_out", groups)
    return Step(f"{half}.conv_out", "conv", inputs, outputs, norm=norm, activation="silu")


_FLUX = AutoencoderKLConfig(
    latent_channels=16,
    block_out_channels=(128, 256, 512, 512),
    layers_per_block=2,
    scaling_factor=0.3611,
    shift_factor=0.1159,
    use_quant_conv=False,
    use_post_quant_conv=False,
)
_SD = AutoencoderKLConfig(block_out_channels=(128, 256, 512, 512), layers_per_block=2)

_SDXL = replace(_SD, scaling_factor=0.13025)
_COGVIEW = AutoencoderKLConfig(
    latent_channels=16,
    block_out_channels=(128, 512, 1024, 1024),
    layers_per_block=3,
    scaling_factor=1.0,
    shift_factor=0.0,
    use_quant_conv=False,
    use_post_quant_conv=False,
    mid_block_add_attention=False,
)

PRESETS: dict[str, AutoencoderKLConfig] = {
    "z-image": _FLUX,  # Tongyi-MAI/Z-Image-Turbo ships the VAE of FLUX.1 unchanged
    "flux1": _FLUX,  # black-forest-labs/FLUX.1-dev, vae/config.json
    "sd1": _SD,  # runwayml/stable-diffusion-v1-5, vae/config.json
    "sdxl": _SDXL,  # stabilityai/stable-diffusion-xl-base-1.0, vae/config.json
    "sdxl-fp16-fix": replace(_SDXL, force_upcast=False),  # madebyollin/sdxl-vae-fp16-fix, config.json
    # playgroundai/playground-v2.5-1024px-aesthetic, vae/config.json
    "playground-2.5": replace(
        _SD,
        scaling_factor=0.5,
        latents_mean=(-1.6574, 1.886, -1.383, 2.5155),
        latents_std=(8.4927, 5.9022, 6.5498, 5.2299),
    ),
    # stabilityai/stable-diffusion-x4-upscaler, vae/config.json: three levels
    "sd-x4-upscaler": replace(
        _SD, block_out_channels=(128, 256, 512), down_block_types=(), up_block_types=(), scaling_factor=0.08333
    ),
    # stabilityai/stable-diffusion-3-medium-diffusers, vae/config.json
    "sd3": replace(_FLUX, scaling_factor=1.5305, shift_factor=0.0609),
    "cogview4": _COGVIEW,  # zai-org/CogView4-6B, vae/config.json
}

_FLUX_MODELS = (
    "Tongyi-MAI/Z-Image-Turbo",
    "Tongyi-MAI/Z-Image",
    "black-forest-labs/FLUX.1-dev",
    "black-forest-labs/FLUX.1-schnell",
    "black-forest-labs/FLUX.1-Krea-dev",
    "black-forest-labs/FLUX.1-Kontext-dev",
    "Alpha-VLLM/Lumina-Image-2.0",
    "lodestones/Chroma1-HD",
    "HiDream-ai/HiDream-I1-Full",
)

REPOSITORIES: dict[str, tuple[str, ...]] = {
    "z-image": _FLUX_MODELS,
    "flux1": _FLUX_MODELS,
    "sd1": (
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "runwayml/stable-diffusion-v1-5",
        "stabilityai/stable-diffusion-2-1",
        "stabilityai/sd-vae-ft-mse",
        "stabilityai/sd-vae-ft-ema",
    ),
    "sdxl": (
        "stabilityai/stable-diffusion-xl-base-1.0",
        "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
        "Kwai-Kolors/Kolors-diffusers",
        "fal/AuraFlow",
    ),
    "sdxl-fp16-fix": ("madebyollin/sdxl-vae-fp16-fix",),
    "playground-2.5": ("playgroundai/playground-v2.5-1024px-aesthetic",),
    "sd-x4-upscaler": ("stabilityai/stable-diffusion-x4-upscaler",),
    "sd3": ("stabilityai/stable-diffusion-3-medium-diffusers", "stabilityai/stable-diffusion-3.5-large"),
    "cogview4": ("zai-org/CogView4-6B", "THUDM/CogView4-6B"),
}
"""Models on Hugging Face that hold the VAE of each preset."""

FAMILY = Family(AutoencoderKLConfig, PRESETS, REPOSITORIES, lookalikes={"cogview4": "GLM-Image"})
