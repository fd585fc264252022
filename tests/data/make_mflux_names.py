"""List the tensors of a snapshot of each VAE class of mflux: names and shapes, as it holds them after loading.

Run where torch, diffusers and mflux are installed: ``python -m tests.data.make_mflux_names``. The tensors that its own
loading makes of diffusers' are lazy zeros, so nothing of their size is ever in memory.
"""

from __future__ import annotations

import json
from typing import Any

import diffusers
import mlx.core as mx
import torch
from mflux.models.common.weights.loading.loaded_weights import LoadedWeights, MetaData
from mflux.models.common.weights.loading.weight_applier import WeightApplier
from mflux.models.common.weights.mapping.weight_mapper import WeightMapper
from mflux.models.flux.model.flux_vae.vae import VAE as FluxVAE
from mflux.models.flux.weights.flux_weight_definition import FluxWeightDefinition
from mflux.models.flux2.model.flux2_vae.small_decoder import SMALL_DECODER_BLOCK_OUT_CHANNELS
from mflux.models.flux2.model.flux2_vae.vae import Flux2VAE
from mflux.models.flux2.weights.flux2_weight_definition import Flux2KleinWeightDefinition
from mflux.models.ming_image.model.ming_vae.ming_vae import MingVAE
from mflux.models.ming_image.weights.ming_image_weight_definition import MingImageWeightDefinition
from mflux.models.qwen.model.qwen_vae.qwen_vae import QwenVAE
from mflux.models.qwen.weights.qwen_weight_definition import QwenWeightDefinition
from mflux.models.z_image.model.z_image_vae import VAE as ZImageVAE
from mflux.models.z_image.weights.z_image_weight_definition import ZImageWeightDefinition
from mlx.utils import tree_flatten

from tests.data import MFLUX_NAMES

KL = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 16,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
SMALL = {"decoder_block_out_channels": SMALL_DECODER_BLOCK_OUT_CHANNELS}

CLASSES: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "flux1": (FluxVAE, FluxWeightDefinition, diffusers.AutoencoderKL, KL),
    "z-image": (ZImageVAE, ZImageWeightDefinition, diffusers.AutoencoderKL, KL),
    "flux2": (Flux2VAE, Flux2KleinWeightDefinition, diffusers.AutoencoderKLFlux2, {}),
    "flux2-small": (lambda: Flux2VAE(**SMALL), Flux2KleinWeightDefinition, diffusers.AutoencoderKLFlux2, SMALL),
    "qwen-image": (QwenVAE, QwenWeightDefinition, diffusers.AutoencoderKLQwenImage, {}),
    "ming-image": (MingVAE, MingImageWeightDefinition, diffusers.AutoencoderKLQwenImage, {"input_channels": 4}),
}
"""By the name of our preset: mflux's class, how mflux loads it, and diffusers' class that it is loaded from."""


def diffusers_shapes(preset: str) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every weight in the file that mflux reads."""
    _, _, build, fields = CLASSES[preset]
    with torch.device("meta"):
        return {name: tuple(values.shape) for name, values in build(**fields).state_dict().items()}


def loaded(preset: str, stored: dict[str, mx.array], bits: int | None = None) -> Any:
    """Return mflux's model with these weights, which have diffusers' names, as mflux loads and quantises it."""
    build, definition, _, _ = CLASSES[preset]
    component = next(each for each in definition.get_components() if each.name == "vae")
    mapping = component.mapping_getter()
    assert not WeightMapper.missing_required_names(stored, mapping, component.num_blocks, component.num_layers)
    mapped = WeightMapper.apply_mapping(stored, mapping, component.num_blocks, component.num_layers)
    weights = LoadedWeights(components={"vae": mapped}, meta_data=MetaData())
    model = build()
    WeightApplier.apply_and_quantize_single(weights, model, component, bits, definition.quantization_predicate)
    return model


def sources(preset: str) -> dict[str, str]:
    """Return the diffusers name that mflux fills each of its tensors from."""
    component = next(each for each in CLASSES[preset][1].get_components() if each.name == "vae")
    mapping = component.mapping_getter()
    flat = WeightMapper._build_flat_mapping(mapping, component.num_blocks or 0, component.num_layers or 28)
    return {path: name for name in diffusers_shapes(preset) for path, _ in flat.get(name, ())}


def tensors(preset: str) -> dict[str, str]:
    """Return each tensor's shape, whether it is quantised, and diffusers' name where it has another, as one text."""
    zeros = {name: mx.zeros(shape) for name, shape in diffusers_shapes(preset).items()}
    plain = dict(tree_flatten(loaded(preset, zeros).parameters()))
    packed = dict(tree_flatten(loaded(preset, zeros, bits=8).parameters()))
    origin, table = sources(preset), {}
    for name, values in plain.items():
        quantised = " quantised" if name.removesuffix("weight") + "scales" in packed else ""
        renamed = f" from {origin[name]}" if origin[name] != name else ""
        table[name] = "x".join(map(str, values.shape)) + quantised + renamed
    return table


def main() -> None:
    """Write the table. Tensors that several classes share are listed once."""
    owners: dict[tuple[str, str], list[str]] = {}
    for preset in CLASSES:
        for entry in tensors(preset).items():
            owners.setdefault(entry, []).append(preset)
    table: dict[str, dict[str, str]] = {}
    for (name, text), presets in owners.items():
        table.setdefault(" ".join(presets), {})[name] = text
    MFLUX_NAMES.write_text(json.dumps(table, indent=0) + "\n")


if __name__ == "__main__":
    main()
