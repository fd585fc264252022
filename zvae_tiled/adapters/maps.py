"""Maps as a host passes them, (B, C, H, W) or with one frame (B, C, 1, H, W), for a VAE of this package."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from zvae_tiled.errors import InputError, LatentsError
from zvae_tiled.families import LatentConvention
from zvae_tiled.inputs.arrays import shape_text, to_mlx
from zvae_tiled.inputs.latent_space import packed
from zvae_tiled.inputs.latents import Latents

WHOLE_VIDEO = (
    'A video is decoded whole: leave the pipeline its VAE, ask it for output_type="latent", and decode them with '
    "VAE.from_module(pipe.vae, video=True)."
)
"""The advice where a VAE that decodes pictures is given frames of a video."""


def one_frame(map_: Any, what: str) -> Any:
    """Return a map without the axis of its frame.

    Raises:
        InputError: It has several frames, or other axes.
    """
    if map_.ndim == 5 and map_.shape[2] == 1:
        return map_[:, :, 0]
    if map_.ndim != 4:
        problem = f"{what} must be (B, C, H, W), or with one frame (B, C, 1, H, W), they are {shape_text(map_.shape)}"
        raise InputError(problem, WHOLE_VIDEO)
    return map_


def unscaled(map_: Any, convention: LatentConvention) -> Latents:
    """Return a decoder's own latents (B, C, h, w), not packed, and with scale and shift undone, for `VAE.decode`.

    Raises:
        LatentsError: They are not latents of this VAE.
    """
    patch = convention.patch
    if patch == 1 or convention.spread:
        return Latents(map_, scaled=convention.only_scaled)
    array, channels = to_mlx(map_, "latents", LatentsError), convention.channels // patch**2
    if array.shape[1] != channels or array.shape[2] % patch or array.shape[3] % patch:
        raise LatentsError(
            f"latents must be (B, {channels}, h, w), h and w multiples of {patch}, they are {shape_text(array.shape)}",
            "Are these latents of another family, or still packed?",
        )
    return Latents(packed(mx.moveaxis(array, 1, -1), patch, convention.order), layout="NHWC", scaled=False)
