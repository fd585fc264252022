"""The Chain of AutoencoderKL's decoder: SD 1.x, SDXL, SD3, FLUX.1, Z-Image, and their kin."""

from __future__ import annotations

from collections.abc import Iterator

from zvae_tiled.chain.step import Chain, Step
from zvae_tiled.config import VAEConfig


def decoder_chain(config: VAEConfig) -> Chain:
    """Build the decoder's Chain from the config alone."""
    steps = tuple(_decoder_steps(config))
    middle = next(cut for cut, step in enumerate(steps) if step.name.startswith("decoder.up_blocks."))
    return Chain(steps, config.norm_num_groups, middle)


def _decoder_steps(config: VAEConfig) -> Iterator[Step]:
    widths = config.block_out_channels[::-1]  # from the latents' resolution up
    latent, width = config.latent_channels, widths[0]
    if config.use_post_quant_conv:
        yield Step("post_quant_conv", "conv", latent, latent, kernel=1)
    yield Step("decoder.conv_in", "conv", latent, width)
    yield from _resnet("decoder.mid_block.resnets.0", width, width)
    if config.mid_block_add_attention:
        name = "decoder.mid_block.attentions.0"
        norm = f"{name}.group_norm"
        yield Step(name, "attention", width, width, kernel=1, norm=norm, opens=True, closes=True)
    yield from _resnet("decoder.mid_block.resnets.1", width, width)
    for level, outputs in enumerate(widths):
        name = f"decoder.up_blocks.{level}"
        for layer in range(config.layers_per_block + 1):
            yield from _resnet(f"{name}.resnets.{layer}", width, outputs)
            width = outputs
        if level < len(widths) - 1:
            yield Step(f"{name}.upsamplers.0.conv", "conv", width, width, upsample=True)
    yield Step("decoder.conv_out", "conv", width, config.out_channels, norm="decoder.conv_norm_out")


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
