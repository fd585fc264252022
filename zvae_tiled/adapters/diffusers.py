"""Puts a bounded VAE into a pipeline of diffusers: `use(pipe, budget="6GB")`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zvae_tiled.errors import InputError
from zvae_tiled.planner.quality import Quality
from zvae_tiled.vae import VAE

_DTYPES = ("float32", "bfloat16", "float16")


def use(
    pipe: Any,
    budget: str | float | None = None,
    *,
    quality: str | Quality = "exact",
    free: Callable[[], object] | None = None,
) -> VAE:
    """Replace a pipeline's VAE by one that decodes and encodes within a budget. The pipeline is called as before.

    The weights are copied from the pipeline's own module, tensor by tensor. The module is freed unless you hold it.

    Args:
        pipe: A pipeline of diffusers.
        budget: Memory that the VAE and one decode or encode may use, as in `VAE.decode`. Default: a safe share of the
            memory available when it starts, so what the pipeline holds is not counted as free.
        quality: As in `VAE.decode`.
        free: Called before each decode, so that it can free memory: unload the transformer, empty caches.

    Returns:
        The VAE, which ``pipe.vae`` calls.

    Raises:
        InputError: The pipeline has no VAE.
        ConfigError: Its VAE is of no family that this package knows.
    """
    from zvae_tiled.adapters.diffusers_module import BoundedVAE

    theirs = getattr(pipe, "vae", None)
    if theirs is None or not hasattr(theirs, "config"):
        raise InputError(
            f"use() needs a pipeline of diffusers with a VAE, and got {type(pipe).__name__}",
            "Pass the loaded pipeline: use(pipe, budget=...).",
        )
    kind = str(theirs.dtype).removeprefix("torch.")
    if getattr(theirs.config, "force_upcast", False) and kind == "float16":
        kind = "float32"  # the pipeline would convert it before each decode
    vae = VAE.from_module(theirs, dtype=kind if kind in _DTYPES else "float32", decoder_only=False)
    pipe.vae = BoundedVAE(vae, theirs, budget, quality, free)
    return vae
