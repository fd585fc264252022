"""Puts a bounded VAE into a model of mflux: `use(model, budget="6GB")`."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from mlx.utils import tree_flatten

from zvae_tiled.adapters.mflux_decode import BoundedDecode
from zvae_tiled.adapters.rescue import folder_of
from zvae_tiled.checks import a_kind, truth
from zvae_tiled.errors import ConfigError, InputError
from zvae_tiled.families import PRESETS, VAEConfig
from zvae_tiled.families.flux2 import Flux2Config
from zvae_tiled.planner.budget import available_memory, parse_budget
from zvae_tiled.planner.quality import Quality, quality_of
from zvae_tiled.vae import VAE
from zvae_tiled.weights.vae import DTYPES
from zvae_tiled.wording import listed

KINDS = {
    "mflux.models.flux.model.flux_vae.vae": "flux1",
    "mflux.models.z_image.model.z_image_vae.vae": "z-image",
    "mflux.models.flux2.model.flux2_vae.vae": "flux2",
    "mflux.models.qwen.model.qwen_vae.qwen_vae": "qwen-image",
    "mflux.models.ming_image.model.ming_vae.ming_vae": "ming-image",
}
"""The preset of each module of mflux with a class of VAEs. Several models share a class."""


def use(
    model: Any,
    budget: str | float | None = None,
    *,
    quality: str | Quality = "exact",
    keep: str | os.PathLike[str] | None = ".",
    release: bool = False,
    source: str | None = None,
) -> VAE:
    """Replace decode and encode of a model's VAE by those of a VAE within a budget. The model is called as before.

    The weights are copied from the model's own VAE, plain or quantised, and freed there. A second call changes terms.

    Args:
        model: A model of mflux.
        budget: Memory that the VAE and one decode or encode may use, as in `VAE.decode`. One in bytes that is too small
            is refused before the first step.
        quality: As in `VAE.decode`.
        keep: The folder in which latents are kept until the next decode, or the end of the program without an error.
            If a decode fails, its error names the command that decodes them. None keeps none.
        release: Whether text encoders and transformer are released once they have been used: for one picture only.
        source: The VAE in this command: a path, a model or a preset. Default: what the Hugging Face cache has.

    Returns:
        The VAE, which ``model.vae`` calls.

    Raises:
        InputError: This is not a model of mflux with a VAE, or an argument is wrong.
        ConfigError: Its VAE is of no family that this package knows.
    """
    theirs = getattr(model, "vae", None)
    if theirs is None or not hasattr(model, "callbacks"):
        problem = f"use() needs a model of mflux with a VAE, and got {a_kind(model)}"
        raise InputError(problem, "Pass the loaded model: use(model, budget=...).")
    release = truth("release", release)
    parse_budget(budget, available_memory())  # refuses a wrong one before a step is sampled
    terms = (budget, quality_of(quality), folder_of(keep), source)
    bounded: BoundedDecode | None = getattr(theirs, "bounded", None)
    if bounded is None:
        vae = VAE.from_module(theirs, _config(theirs), _dtype(theirs), decoder_only=False)
        bounded = BoundedDecode(vae, model, *terms)
    if bounded not in model.callbacks.before_loop:  # of another model with this VAE
        model.callbacks.register(bounded)
    bounded.budget, bounded.quality, bounded.keep, bounded.source = terms
    bounded.put_into(model)
    if release:
        bounded.release(model)
    return bounded.vae


def _config(theirs: Any) -> VAEConfig:
    preset = PRESETS.get(KINDS.get(type(theirs).__module__, ""))
    if preset is None:
        problem = f"no family is known of {type(theirs).__module__}.{type(theirs).__name__}"
        raise ConfigError(problem, f"Known are mflux's VAEs of {listed(sorted(KINDS.values()))}.")
    if not isinstance(preset, Flux2Config):
        return preset
    encoder, decoder = (
        tuple(block.resnets[0].conv1.weight.shape[0] for block in blocks)
        for blocks in (theirs.encoder.down_blocks, theirs.decoder.up_blocks[::-1])
    )
    widths = None if decoder == encoder else decoder  # small decoders
    return replace(preset, block_out_channels=encoder, decoder_block_out_channels=widths)


def _dtype(theirs: Any) -> str:
    """Return the type to compute in: the weights', or what mflux's ``--vae-full-precision`` asks for."""
    if getattr(theirs, "decode_mode", None) == "full_precision":
        return "float32"
    kinds = (str(each.dtype).removeprefix("mlx.core.") for each in dict(tree_flatten(theirs.parameters())).values())
    return next((kind for kind in kinds if kind in DTYPES), "bfloat16")
