"""Puts a bounded VAE into a pipeline of diffusers: `use(pipe, budget="6GB")`."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from zvae_tiled.adapters.maps import WHOLE_VIDEO
from zvae_tiled.adapters.rescue import folder_of
from zvae_tiled.checks import a_kind
from zvae_tiled.errors import ConfigError, InputError, WeightsError
from zvae_tiled.families import FAMILIES
from zvae_tiled.planner.budget import available_memory, parse_budget
from zvae_tiled.planner.quality import Quality, quality_of
from zvae_tiled.vae import VAE
from zvae_tiled.weights.modules import module_config
from zvae_tiled.weights.vae import DTYPES

ASKING = frozenset({"SanaVideoPipeline", "SanaImageToVideoPipeline"})
"""Pipelines that undo the scale of latents by the class of their VAE, and not at all for a class they do not know."""

FRAMES = frozenset({"WanVideoToVideoPipeline", "WanAnimatePipeline", "ChronoEditPipeline"})
"""Pipelines that give their VAE several frames, however they are called."""

WIDENING = "AnimateDiffSDXLPipeline"
"""A pipeline that widens a VAE of float16 layer by layer, before it looks whether latents are asked for."""


def use(
    pipe: Any,
    budget: str | float | None = None,
    *,
    quality: str | Quality = "exact",
    free: Callable[[], object] | None = None,
    keep: str | os.PathLike[str] | None = ".",
) -> VAE:
    """Replace a pipeline's VAE by one that decodes and encodes within a budget. The pipeline is called as before.

    The weights are copied from the pipeline's own module, tensor by tensor. The module is freed unless you hold it.
    A second call changes the budget, and copies nothing.

    Args:
        pipe: A pipeline of diffusers.
        budget: Memory that the VAE and one decode or encode may use, as in `VAE.decode`. Default: 70 % of the
            memory available when it starts, so what the pipeline holds is not counted as free.
        quality: As in `VAE.decode`.
        free: Called before each decode, so that it can free memory: unload the transformer, empty caches.
        keep: The folder in which the latents of a decode that fails are kept. Its error names the command that
            decodes them. None keeps none.

    Returns:
        The VAE, which ``pipe.vae`` calls.

    Raises:
        InputError: The pipeline has no VAE, or works with no class but its own; the weights are on disk; or another
            argument is wrong.
        ConfigError: Its VAE is of no family that this package knows.
        WeightsError: Its weights are of a type that cannot be used, such as float8.
    """
    theirs = getattr(pipe, "vae", None)
    if theirs is None or not hasattr(theirs, "config"):
        raise InputError(
            f"use() needs a pipeline of diffusers with a VAE, and got {a_kind(pipe)}",
            "Pass the loaded pipeline: use(pipe, budget=...).",
        )
    classes = {each.__name__ for each in type(pipe).__mro__}
    if asking := ASKING & classes:
        raise InputError(
            f"use() would change the pictures of {', '.join(asking)}, which asks for the class of its VAE",
            'Ask it for latents, output_type="latent", and decode them: VAE.from_module(pipe.vae, video=True).',
        )
    if frames := FRAMES & classes:
        raise InputError(
            f"{', '.join(frames)} gives its VAE several frames, and it would take one from then on",
            "Leave the pipeline its VAE.",
        )
    if _asks_for_frames(pipe) and any(each.ndim == 5 for each in theirs.parameters()):
        what = f"{type(pipe).__name__} makes videos, and its VAE decodes one frame from now on: set num_frames to 1"
        warnings.warn(f"{what}. {_for_videos(theirs)}", stacklevel=2)
    if free is not None and not callable(free):
        raise InputError(f"free must be a function without arguments, it is {a_kind(free)}")
    parse_budget(budget, available_memory())  # refuses a wrong one before a step is sampled
    terms, folder = {"budget": budget, "quality": quality_of(quality)}, folder_of(keep)
    from zvae_tiled.adapters.diffusers_hooks import offload_again, weights_here
    from zvae_tiled.adapters.diffusers_module import BoundedVAE, bounded

    whole = getattr(theirs, "_orig_mod", theirs)  # inside a module of torch.compile
    offloaded = weights_here(theirs)
    try:
        vae = whole.vae if isinstance(whole, BoundedVAE) else _copied(whole, type(pipe))
        pipe.vae = bounded(vae, whole, free, folder, **terms)
        if WIDENING in classes:  # the copy is of float32 already, if it has to be
            pipe.vae.register_to_config(force_upcast=False)
    finally:  # the pipeline is as it was, if its VAE could not be copied
        offload_again(pipe, offloaded)
    return vae


def _asks_for_frames(pipe: Any) -> bool:
    """Return whether a pipeline, or the blocks of a modular one, take a number of frames."""
    blocks = getattr(getattr(pipe, "blocks", None), "inputs", ())
    names = {*inspect.signature(type(pipe).__call__).parameters, *(getattr(each, "name", None) for each in blocks)}
    return "num_frames" in names


def _for_videos(theirs: Any) -> str:
    """Return what to do for a video: not every VAE's is decoded here."""
    try:
        config = module_config(getattr(theirs, "_orig_mod", theirs))
        if config is not None and config.video():
            return WHOLE_VIDEO
    except ConfigError:
        pass
    return "For videos leave the pipeline its VAE: those of this one are not decoded here."


def _copied(theirs: Any, pipeline: type) -> VAE:
    """Copy a VAE. Its config has what a pipeline of this class, or of its parents, changes in it."""
    lost = next((str(each.dtype) for each in theirs.parameters() if "float8" in str(each.dtype)), None)
    if lost is not None:
        raise WeightsError(
            f"the pipeline's VAE is stored as {lost}: its weights were rounded to few bits",
            "Load it anew, without enable_layerwise_casting() of the VAE. Other models may keep it.",
        )
    kind = str(theirs.dtype).removeprefix("torch.")
    if getattr(theirs.config, "force_upcast", False) and kind == "float16":
        kind = "float32"  # the pipeline would convert it before each decode
    config = module_config(theirs)
    if config is not None:
        known = FAMILIES[config.class_name].pipelines
        changes = (known[each.__name__] for each in pipeline.__mro__ if each.__name__ in known)
        config = replace(config, **next(changes, {}))
    return VAE.from_module(theirs, config, kind if kind in DTYPES else "float32", decoder_only=False)
