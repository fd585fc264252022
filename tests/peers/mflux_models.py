"""Small models of mflux with random weights: its own classes, loop and VAE. Prompts are embedded by a stand-in."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mflux.callbacks.callback_registry import CallbackRegistry
from mflux.models.common.compute_precision import ComputePrecision
from mflux.models.common.config import ModelConfig
from mflux.models.flux2.flux2_initializer import Flux2Initializer
from mflux.models.flux2.model.flux2_transformer.transformer import Flux2Transformer
from mflux.models.flux2.model.flux2_vae.encoder.encoder import Flux2Encoder
from mflux.models.flux2.model.flux2_vae.vae import Flux2VAE
from mflux.models.flux2.variants import Flux2Klein
from mflux.models.flux2.weights.flux2_weight_definition import Flux2KleinWeightDefinition
from mflux.utils.apple_silicon import AppleSiliconUtil
from mlx import nn
from mlx.utils import tree_map

WIDTHS = (32, 32, 32, 32)
"""The least: norms have 32 groups."""


def flux2_vae(bits: int | None = None) -> Flux2VAE:
    """FLUX.2's VAE in bfloat16, as narrow as its class allows, quantised as mflux does it."""
    mx.random.seed(0)
    vae = Flux2VAE(decoder_block_out_channels=WIDTHS)
    vae.encoder = Flux2Encoder(block_out_channels=WIDTHS)
    vae.bn.running_mean, vae.bn.running_var = mx.random.normal((128,)), mx.random.uniform(0.5, 2, (128,))
    vae.update(tree_map(lambda array: array.astype(mx.bfloat16), vae.parameters()))
    vae.decode_mode = Flux2VAE.DECODE_LOW_MEMORY
    if bits is not None:
        predicate = Flux2KleinWeightDefinition.quantization_predicate
        nn.quantize(vae, bits=bits, group_size=32, class_predicate=predicate)
    mx.eval(vae.parameters())
    return vae


def init(model: Any, bits: int | None = None, **given: Any) -> None:
    """Make a model small. It takes the arguments of mflux's own initialiser, and reads no files."""
    del given
    mx.random.seed(1)
    model.model_config, model.callbacks, model.tiling_config = ModelConfig.flux2_klein_4b(), CallbackRegistry(), None
    model.prompt_cache, model.tokenizers, model.text_encoder = {}, {}, nn.Linear(2, 2)
    model.bits, model.lora_paths, model.lora_scales = bits, [], []
    model.compute_precision = ComputePrecision(None)
    model.vae = flux2_vae(bits)
    model.transformer = Flux2Transformer(
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
    )


def encode_prompt_pair(self: Any, prompt: str, **given: Any) -> tuple[Any, ...]:
    del self, given
    embeds = mx.random.normal((1, 4, 32), key=mx.random.key(len(prompt))).astype(mx.bfloat16)
    return embeds, mx.zeros((1, 4, 4), dtype=mx.int32), None, None


def make_small() -> None:
    """Let every FLUX.2 model of this process be small."""
    Flux2Initializer.init = init
    Flux2Klein._encode_prompt_pair = encode_prompt_pair
    AppleSiliconUtil.is_m1_or_m2 = staticmethod(lambda: True)  # else MLX compiles, which takes 20 seconds on a CPU


def flux2(bits: int | None = None) -> Any:
    """A small model."""
    make_small()
    model = Flux2Klein.__new__(Flux2Klein)
    nn.Module.__init__(model)
    init(model, bits)
    return model


def picture(model: Any, side: int = 64) -> Any:
    """Generate a picture in two steps."""
    return model.generate_image(seed=1, prompt="a lighthouse", num_inference_steps=2, height=side, width=side).image


if __name__ == "__main__":  # the command zvae, for which each FLUX.2 model is small
    from zvae import main

    make_small()
    main()
