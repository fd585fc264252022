"""The module that pipelines of diffusers call in place of their VAE."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import torch
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput

from zvae_tiled.errors import InputError, LatentsError
from zvae_tiled.inputs.arrays import to_mlx
from zvae_tiled.inputs.latent_space import packed
from zvae_tiled.inputs.latents import Latents
from zvae_tiled.planner.quality import Quality
from zvae_tiled.vae import VAE

KEPT = ("bn", "post_quant_conv", "quant_conv", "temperal_downsample")
"""What pipelines read from a VAE beside its config: FLUX.2's normalisation, types of small layers, Qwen's levels."""


class BoundedVAE(torch.nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    """Decodes and encodes within a budget, by MLX. Pictures and latents are torch's, on the pipeline's device."""

    def __init__(
        self,
        vae: VAE,
        theirs: Any,
        budget: str | float | None,
        quality: str | Quality,
        free: Callable[[], object] | None,
    ) -> None:
        """Take a VAE, the module that it was copied from, and how to decode."""
        super().__init__()
        self.vae, self.config = vae, theirs.config
        self._budget, self._quality, self._free = budget, quality, free
        self.register_buffer("_place", torch.empty(0, dtype=theirs.dtype, device=theirs.device), persistent=False)
        for name in KEPT:
            if getattr(theirs, name, None) is not None:
                setattr(self, name, getattr(theirs, name))

    @property
    def dtype(self) -> torch.dtype:
        """The type of pictures and latents that are returned."""
        return self._place.dtype

    @property
    def device(self) -> torch.device:
        """The device of pictures and latents that are returned."""
        return self._place.device

    def decode(self, z: torch.Tensor, return_dict: bool = True, generator: Any = None) -> Any:
        """Decode latents whose scale and shift are undone: (B, C, h, w), or with one frame (B, C, 1, h, w)."""
        del generator  # nothing is drawn
        if self._free is not None:
            self._free()
        pictures = self.vae.decode(
            self._latents(z), "torch", raw=True, layout="NCHW", budget=self._budget, quality=self._quality
        )
        sample = self._returned(pictures, z)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def encode(self, x: torch.Tensor, return_dict: bool = True) -> Any:
        """Encode pictures in [-1, 1], (B, 3, H, W) or with one frame, into the distribution of latents, not scaled.

        Raises:
            InputError: There are several frames.
        """
        if x.ndim == 5 and x.shape[2] != 1:
            raise InputError(f"encode needs one frame, and got {x.shape[2]}", "Encode frames one by one.")
        flat = x[:, :, 0] if x.ndim == 5 else x
        images = (flat.detach().cpu().float() * 0.5 + 0.5).permute(0, 2, 3, 1)
        found = self.vae.encode(images, budget=self._budget).unscaled(self.vae.config.latents, self.vae.weights)
        moments = [torch.from_dlpack(each) for each in (found.mean, found.logvar)]
        parameters = self._returned(torch.cat(moments, dim=1), x)
        distribution = DiagonalGaussianDistribution(parameters)
        return AutoencoderKLOutput(latent_dist=distribution) if return_dict else (distribution,)

    def _latents(self, z: torch.Tensor) -> Latents:
        """Return latents as the VAE reads them: FLUX.2's pipeline has unpacked them already."""
        convention = self.vae.config.latents
        if convention.patch == 1:
            return Latents(z, scaled=convention.only_scaled)
        map_ = mx.moveaxis(to_mlx(z, "latents", LatentsError), 1, -1)
        return Latents(packed(map_, convention.patch, convention.order), layout="NHWC", scaled=False)

    def _returned(self, found: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        return (found[:, :, None] if given.ndim == 5 else found).to(device=given.device, dtype=self.dtype)

    def enable_tiling(self, *args: Any, **options: Any) -> None:
        """Do nothing, and say so."""
        del args, options
        warnings.warn("tiling has no effect: the VAE keeps to its budget without tiles", stacklevel=2)

    def enable_slicing(self) -> None:
        """Do nothing: the pictures of a batch are decoded one after the other anyway."""

    def save_pretrained(self, *args: Any, **options: Any) -> None:
        """Refuse: the weights are no longer those of the module.

        Raises:
            InputError: Always.
        """
        del args, options
        raise InputError("a bounded VAE cannot be saved", "Save the pipeline before use().")

    def disable_tiling(self) -> None:
        """Do nothing: there are no tiles."""

    def disable_slicing(self) -> None:
        """Do nothing."""
