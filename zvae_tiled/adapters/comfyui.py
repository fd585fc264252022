"""Decodes and encodes with the VAE that ComfyUI has loaded. `integrations/comfyui` declares the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import mlx.core as mx

from zvae_tiled.adapters.comfyui_host import listener, make_room
from zvae_tiled.errors import ConfigError, InputError
from zvae_tiled.families import PRESETS
from zvae_tiled.inputs.latents import Latents
from zvae_tiled.jobs.decode import Decode
from zvae_tiled.planner.budget import available_memory, is_share, parse_budget
from zvae_tiled.planner.plan import Plan
from zvae_tiled.vae import VAE
from zvae_tiled.weights.arrays import Arrays
from zvae_tiled.weights.recognise import fitting_presets
from zvae_tiled.weights.vae import DTYPES

_ANY = "1000TB"
"""Every plan fits it. The fastest plan says how much memory to ask for, where the default budget is not known yet."""

_OWN = "Use ComfyUI's own nodes for it."

_COPIES: WeakKeyDictionary[Any, VAE] = WeakKeyDictionary()
"""The copy of each module of torch that was used. It goes when ComfyUI drops the module."""


def copied(vae: Any, encoder: bool = False) -> VAE:
    """Return the bounded VAE of one that ComfyUI has loaded. Its weights are copied at the first call, in their type.

    Raises:
        ConfigError: It is of no family that this package knows.
    """
    vae.throw_exception_if_invalid()
    module, kind = vae.first_stage_model, str(vae.vae_dtype).removeprefix("torch.")
    known = _COPIES.get(module)
    if known is None or (encoder and not known.config.chain("encode").shapes.keys() <= known.weights.keys()):
        tensors = module.state_dict()
        fitting = fitting_presets(Arrays(tensors))
        if not fitting:
            problem = f"this VAE, of the class {type(module).__name__}, is of no family that zvae_tiled knows"
            raise ConfigError(problem, _OWN)
        if PRESETS[fitting[0]].latents.only_scaled and not hasattr(module, "vae_scale"):
            problem = f"this VAE, of the class {type(module).__name__}, does not say how latents are scaled for it"
            raise ConfigError(problem, _OWN)
        known = None
        _COPIES.pop(module, None)  # a decoder alone is freed before both halves are copied
        # Presets of the same names and shapes differ in the latents of their pipelines, which ComfyUI does not have.
        known = VAE.from_state_dict(tensors, fitting[0], kind if kind in DTYPES else "float32", not encoder)
        _COPIES[module] = known
    return known


def prepared(
    vae: Any, samples: Any, output: str, budget: str, quality: str, texts: Mapping[str, str] | None = None
) -> Decode:
    """Check and plan a decode of a LATENT's samples, after ComfyUI has made room. An empty budget is the default.

    The output is ``image``, or the ending of the files.
    """
    bounded, samples = copied(vae), samples.unbind()[0] if samples.is_nested else samples  # beside a video's sound
    shift, scale = _tiny_scale(vae, samples.device)
    latents = Latents((samples - shift) * scale, scaled=_scaled(bounded), texts=texts or {})
    batch, height, width, _ = bounded.prepare(latents, budget=_ANY, quality=quality).shape
    plan = planned(vae, height, width, batch, _known(budget), quality, output)
    make_room(vae, plan.predicted_peak - bounded.weight_bytes)
    return bounded.prepare(latents, budget=budget or None, quality=quality, progress=listener())


def planned(vae: Any, height: int, width: int, batch: int, budget: str, quality: str, output: str) -> Plan:
    """Plan a decode before there are latents. The output is ``image``, or the ending of the files."""
    bounded, asked = copied(vae), budget or None
    if output == "image":
        return bounded.plan(height, width, asked, batch, quality=quality)
    return bounded.plan(height, width, asked, batch, "stream", quality=quality, output=f"a.{output}")


def encode(vae: Any, pixels: Any, budget: str) -> Any:
    """Encode an IMAGE into a LATENT's samples: the mean, as from ComfyUI's own VAE.

    Raises:
        InputError: There are several pictures, which this VAE would take for frames.
    """
    import torch

    bounded = copied(vae, encoder=True)
    images = vae.vae_encode_crop_pixels(pixels)[..., : bounded.config.image_channels]
    (shift, scale), frames = _tiny_scale(vae, torch.device("cpu")), vae.latent_dim == 3
    if frames and len(images) > 1:
        raise InputError(f"this VAE encodes one picture at a time, and got {len(images)}", "Encode them one by one.")
    plan = bounded.plan(images.shape[1], images.shape[2], _known(budget), len(images), "encode")
    make_room(vae, plan.predicted_peak - bounded.weight_bytes)
    # Pictures that were scaled may go beyond [0, 1], which ComfyUI's own VAE encodes, too.
    terms: dict[str, Any] = {"scaled": _scaled(bounded), "budget": budget or None, "progress": listener()}
    found = bounded.encode(images * 2 - 1, raw=True, **terms)
    samples = torch.from_dlpack(found.mean.astype(mx.float32)) / scale + shift
    return samples[:, :, None] if frames else samples


def _known(budget: str) -> str:
    """Return a budget as it is before ComfyUI has made room: a share of the free memory is not known yet."""
    parse_budget(budget or None, available_memory())  # one that can be none is refused before anything is unloaded
    return _ANY if is_share(budget or None) else budget


def _scaled(bounded: VAE) -> bool:
    """Return whether samples are scaled: ComfyUI has TAESD's scale inside, and FLUX.2's statistics are in its VAE."""
    convention = bounded.config.latents
    return convention.only_scaled or convention.statistics is not None


def _tiny_scale(vae: Any, device: Any) -> tuple[Any, Any]:
    """Return the shift and the scale that ComfyUI's TAESD has inside, one or one for each channel. Others have none."""
    shift, scale = (getattr(vae.first_stage_model, name, None) for name in ("vae_shift", "vae_scale"))
    return (0.0, 1.0) if shift is None or scale is None else (shift.detach().to(device), scale.detach().to(device))
