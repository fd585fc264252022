"""The Chains of AutoencoderKL, decoder and encoder: SD 1.x, SDXL, SD3, FLUX.1, Z-Image, and their kin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from zvae_tiled.chain.step import Chain, Norm, Step
from zvae_tiled.config import VAEConfig

Task = Literal["decode", "encode"]


def chain_of(config: VAEConfig, task: Task) -> Chain:
    """Build the Chain that a task goes through."""
    return decoder_chain(config) if task == "decode" else encoder_chain(config)


def decoder_chain(config: VAEConfig) -> Chain:
    """Build the decoder's Chain from the config alone."""
    steps = tuple(_decoder(config))
    middle = next(cut for cut, step in enumerate(steps) if step.name.startswith("decoder.up_blocks."))
    return Chain(steps, middle)


def encoder_chain(config: VAEConfig) -> Chain:
    """Build the encoder's Chain from the config alone; what it ends with are mean and log-variance."""
    steps = tuple(_encoder(config))
    middle = next(cut for cut, step in enumerate(steps) if step.name == "encoder.conv_out")
    return Chain(steps, middle)


def _decoder(config: VAEConfig) -> Iterator[Step]:
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


def _encoder(config: VAEConfig) -> Iterator[Step]:
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
        yield Step(f"{name}.upsamplers.0.conv", "conv", outputs, outputs, upsample=True)


def _down_block(name: str, inputs: int, outputs: int, layers: int, groups: int, downsample: bool) -> Iterator[Step]:
    for layer in range(layers):
        yield from _resnet(f"{name}.resnets.{layer}", outputs if layer else inputs, outputs, groups)
    if downsample:
        yield Step(f"{name}.downsamplers.0.conv", "conv", outputs, outputs, stride=2)


def _mid_block(name: str, width: int, groups: int, attention: bool) -> Iterator[Step]:
    yield from _resnet(f"{name}.resnets.0", width, width, groups)
    if attention:
        yield _attention(f"{name}.attentions.0", width, groups)
    yield from _resnet(f"{name}.resnets.1", width, width, groups)


def _attention(name: str, width: int, groups: int) -> Step:
    norm = Norm(f"{name}.group_norm", groups)
    return Step(name, "attention", width, width, kernel=1, norm=norm, opens=True, closes=True)


def _resnet(name: str, inputs: int, outputs: int, groups: int) -> Iterator[Step]:
    first, second = (Norm(f"{name}.norm{number}", groups) for number in (1, 2))
    shortcut = f"{name}.conv_shortcut" if inputs != outputs else None
    yield Step(f"{name}.conv1", "conv", inputs, outputs, norm=first, activation="silu", opens=True)
    yield Step(
        f"{name}.conv2",
        "conv",
        outputs,
        outputs,
        norm=second,
        activation="silu",
        closes=True,
        shortcut=shortcut,
        skip=inputs,
    )


def _conv_out(half: str, inputs: int, outputs: int, groups: int) -> Step:
    norm = Norm(f"{half}.conv_norm_out", groups)
    return Step(f"{half}.conv_out", "conv", inputs, outputs, norm=norm, activation="silu")
