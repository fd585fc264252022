"""Compares a decode with diffusers' own model of the same weights, where diffusers is installed."""

from __future__ import annotations

from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zvae_tiled.devices.installed import installed

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE

CELLS = (6, 8)
"""Rows and columns of the pipeline's latents that are compared."""

SAME = 0.01
"""The largest difference, in standard deviations of the picture, of two decodes in float32 that agree."""


def compared(vae: VAE, folder: Path | None) -> dict[str, Any]:
    """Decode the same latents by both, in float32.

    Args:
        vae: The VAE, in float32.
        folder: The diffusers folder it was loaded from; None if it was another file.

    Returns:
        Version, PSNR in dB, the largest difference in standard deviations, and whether it is small enough; or
        ``skipped``, why nothing was compared.
    """
    for package in ("torch", "diffusers"):
        if not installed(package):
            return {"skipped": f"{package} is not installed"}
    if folder is None:
        return {"skipped": "the VAE is not a folder as diffusers writes it"}
    latents = _latents(vae)
    try:
        theirs = _theirs(vae, folder, latents)
    except Exception as error:  # whatever diffusers and torch raise, for their versions differ
        return {"skipped": f"diffusers failed with {type(error).__name__}"}
    from zvae_tiled.inputs.latents import Latents

    ours = vae.decode(Latents(latents, scaled=vae.config.latents.only_scaled), "np", raw=True)
    difference, spread = ours - theirs, float(theirs.std()) or 1.0
    largest = float(np.abs(difference).max()) / spread
    noise = float(np.sqrt(np.mean(np.square(difference, dtype=np.float64)))) or 1e-30
    return {
        "diffusers": metadata.version("diffusers"),
        "psnr": 20 * float(np.log10(2.0 / noise)),
        "largest": largest,
        "same": largest <= SAME,
    }


def _latents(vae: VAE) -> np.ndarray[Any, np.dtype[np.float32]]:
    channels, grain = vae.config.latents.returned
    shape = (1, channels, CELLS[0] * grain, CELLS[1] * grain)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _theirs(vae: VAE, folder: Path, latents: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
    """Return the values of diffusers' decoder, (1, H, W, C)."""
    torch, diffusers = import_module("torch"), import_module("diffusers")
    kind = getattr(diffusers, vae.config.class_name)
    model = kind.from_pretrained(
        folder, torch_dtype=torch.float32, local_files_only=True, low_cpu_mem_usage=False
    ).eval()
    given = torch.from_numpy(_unpacked(vae, latents))
    with torch.inference_mode():
        if "temperal_downsample" in model.config:  # a model of videos: a picture is one frame
            picture = model.decode(given[:, :, None]).sample[:, :, 0]
        else:
            picture = model.decode(given).sample
    return picture.permute(0, 2, 3, 1).numpy()


def _unpacked(vae: VAE, latents: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
    """Return latents as the decoder reads them, (1, C, h, w)."""
    import mlx.core as mx

    from zvae_tiled.inputs.latent_space import unpacked

    convention = vae.config.latents
    rows = unpacked(mx.array(latents).transpose(0, 2, 3, 1), convention.patch, convention.order)
    return np.ascontiguousarray(np.asarray(rows).transpose(0, 3, 1, 2))
