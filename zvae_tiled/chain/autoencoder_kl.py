"""The Chains of AutoencoderKL, decoder and encoder: SD 1.x, SDXL, SD3, FLUX.1, Z-Image, and their kin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from zvae_tiled.chain.step import Chain, Step
from zvae_tiled.config import VAEConfig

Task = Literal["decode", "encode"]


def chain_of(config: VAEConfig, task: Task) -> Chain:
    """Build the Chain that a task goes through."""
    return decoder_chain(config) if task == "decode" else encoder_chain(config)


def decoder_chain(config: VAEConfig) -> Chain:
    """Build the decoder's Chain from the config alone."""
    steps = tuple(_decoder_steps(config))
    middle = next(cut for cut, step in enumerate(steps) if step.name.startswith("decoder.up_blocks."))
    return Chain(steps, config.norm_num_groups, middle)


def encoder_chain(config: VAEConfig) -> Chain:
    """Build the encoder's Chain from the config alone; what it ends with are mean and log-variance."""
    steps = tuple(_encoder_steps(config))
    middle = next(cut for cut, step in enumerate(steps) if step.name == "encoder.conv_out")
    return Chain(steps, config.norm_num_groups, middle)


def _decoder_steps(config: VAEConfig) -> Iterator[Step]:
    widths = config.block_out_channels[::-1]  # from the latents' resolution up
    latent, width = config.latent_channels, widths[0]
    if config.use_post_quant_conv:
        yield Step("post_quant_conv", "conv", latent, latent, kernel=1)
    yield Step("decoder.conv_in", "conv", latent, width)
    yield from _mid_block("decoder.mid_block", width, config.mid_block_add_attention)
    for level, outputs in enumerate(widths):
        name = f"decoder.up_blocks.{level}"
        for layer in range(config.layers_per_block + 1):
            yield from _resnet(f"{name}.resnets.{layer}", width, outputs)
            width = outputs
        if level < len(widths) - 1:
            yield Step(f"{name}.upsamplers.0.conv", "conv", width, width, upsample=True)
    yield Step("decoder.conv_out", "conv", width, config.out_channels, norm="decoder.conv_norm_out")


def _encoder_steps(config: VAEConfig) -> Iterator[Step]:
    widths = config.block_out_channels  # from the picture's resolution down
    moments, width = 2 * config.latent_channels, widths[0]
    yield Step("encoder.conv_in", "conv", config.in_channels, width)
    for level, outputs in enumerate(widths):
        name = f"encoder.down_blocks.{level}"
        for layer in range(config.layers_per_block):
            yield from _resnet(f"{name}.resnets.{layer}", width, outputs)
            width = outputs
        if level < len(widths) - 1:
            yield Step(f"{name}.downsamplers.0.conv", "conv", width, width, stride=2)
    yield from _mid_block("encoder.mid_block", width, config.mid_block_add_attention)
    yield Step("encoder.conv_out", "conv", width, moments, norm="encoder.conv_norm_out")
    if config.use_quant_conv:
        yield Step("quant_conv", "conv", moments, moments, kernel=1)


def _mid_block(name: str, width: int, attention: bool) -> Iterator[Step]:
    yield from _resnet(f"{name}.resnets.0", width, width)
    if attention:
        own = f"{name}.attentions.0"
        norm = f"{own}.group_norm"
        yield Step(own, "attention", width, width, kernel=1, norm=norm, opens=True, closes=True)
    yield from _resnet(f"{name}.resnets.1", width, width)


def _resnet(name: str, inputs: int, outputs: int) -> Iterator[Step]:
    yield Step(f"{name}.conv1", "conv", inputs, outputs, norm=f"{name}.norm1", opens=True)
    shortcut = f"{name}.conv_shortcut" if inputs != outputs else None
    yield Step(
        f"{name}.conv2",
        "conv",
        outputs,
        outputs,
        norm=f"{name}.norm2",
        closes=True,
        shortcut=shortcut,
        skip=inputs,
    )
