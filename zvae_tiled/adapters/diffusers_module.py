"""The module that pipelines of diffusers call in place of their VAE."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution, EncoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.utils.accelerate_utils import apply_forward_hook

from zvae_tiled.adapters.diffusers_hooks import bare
from zvae_tiled.adapters.diffusers_manners import BEFORE, Manners, MissingError, without_gradient
from zvae_tiled.adapters.maps import one_frame, unscaled
from zvae_tiled.adapters.rescue import first_found, options_of, rescue
from zvae_tiled.families.dc import DCConfig
from zvae_tiled.families.tiny import TinyConfig
from zvae_tiled.vae import VAE

KEPT = ("bn", "post_quant_conv", "quant_conv", "spatial_compression_ratio", "temperal_downsample")
"""What pipelines read beside the config: FLUX.2's normalisation, types of small layers, PRX's and Qwen's levels."""


class BoundedVAE(Manners):
    """Decodes and encodes within a budget, by MLX. Pictures and latents are torch's, on the pipeline's device."""

    def __init__(
        self, vae: VAE, theirs: Any, free: Callable[[], object] | None, keep: Path | None, **terms: Any
    ) -> None:
        """Take a VAE, the module that it was copied from, and the arguments of `use`."""
        super().__init__()
        self._keep, self._source = keep, getattr(theirs.config, "_name_or_path", None)
        self.vae, self.config, self._kind = vae, theirs.config, getattr(theirs, "_kind", type(theirs))
        self._free, self._terms = free, terms
        place = torch.empty(0, dtype=theirs.dtype, device=theirs.device)
        # A parameter, which accelerate looks for; in a list, because with one of its own it would take `bn`, too.
        self._place = torch.nn.ParameterList([torch.nn.Parameter(place, requires_grad=False)])
        for name in KEPT:
            if getattr(theirs, name, None) is not None:
                setattr(self, name, bare(getattr(theirs, name)))

    @property
    def dtype(self) -> torch.dtype:
        """The type of pictures and latents that are returned."""
        return self._place[0].dtype

    @property
    def device(self) -> torch.device:
        """The device of pictures and latents that are returned."""
        return self._place[0].device

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # it cannot compile MLX
    @apply_forward_hook  # type: ignore[untyped-decorator]  # the model before it is offloaded first
    def decode(self, z: torch.Tensor, return_dict: bool = True, generator: Any = None) -> Any:
        """Decode latents whose scale and shift are undone: (B, C, h, w), or with one frame (B, C, 1, h, w).

        Raises:
            InputError: They have several frames, or other axes.
        """
        del generator  # nothing is drawn
        given = unscaled(one_frame(without_gradient(z), "latents"), self.vae.config.latents)
        try:
            if self._free is not None:
                self._free()
            pictures = self.vae.decode(given, "torch", raw=True, layout="NCHW", **self._terms)
        except BaseException as error:  # Ctrl-C too
            rescue(error, given, self._keep, lambda: options_of(self.vae, first_found(self._source), **self._terms))
            raise
        sample = self._returned(pictures, z)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    @apply_forward_hook  # type: ignore[untyped-decorator]
    def encode(self, x: torch.Tensor, return_dict: bool = True) -> Any:
        """Encode pictures in [-1, 1], (B, 3, H, W) or with one frame, into the distribution of latents, not scaled.

        Raises:
            InputError: They have several frames, or other axes.
        """
        images = one_frame(without_gradient(x), "images").permute(0, 2, 3, 1)
        found = self.vae.encode(images, raw=True, scaled=False, budget=self._terms["budget"])
        if self.vae.config.latents.deterministic:  # nothing is drawn, and what is drawn later is the same
            latents = self._returned(torch.from_dlpack(found.mean), x)
            if not return_dict:
                return (latents,)
            return (
                EncoderOutput(latent=latents)
                if isinstance(self.vae.config, DCConfig)
                else AutoencoderTinyOutput(latents=latents)
            )
        moments = [torch.from_dlpack(each) for each in (found.mean, found.logvar)]
        parameters = self._returned(torch.cat(moments, dim=1), x)
        distribution = DiagonalGaussianDistribution(parameters)
        return AutoencoderKLOutput(latent_dist=distribution) if return_dict else (distribution,)

    def forward(
        self, sample: torch.Tensor, sample_posterior: bool = False, return_dict: bool = True, generator: Any = None
    ) -> Any:
        """Encode pictures, and decode the mode of their latents, or a sample of them."""
        found = self.encode(sample).latent_dist
        return self.decode(found.sample(generator) if sample_posterior else found.mode(), return_dict)

    def _returned(self, found: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        return (found[:, :, None] if given.ndim == 5 else found).to(device=given.device, dtype=self.dtype)


class BoundedDC(BoundedVAE):
    """Takes the arguments of AutoencoderDC."""

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> Any:  # type: ignore[override]  # it draws nothing
        """Encode pictures, and decode their latents."""
        return self.decode(self.encode(sample).latent, return_dict)


class BoundedTiny(BoundedVAE):
    """Takes the arguments of AutoencoderTiny."""

    def decode(self, x: torch.Tensor, generator: Any = None, return_dict: bool = True) -> Any:
        """Decode latents, as `BoundedVAE.decode`."""
        return super().decode(x, return_dict, generator)

    def forward(self, *given: Any, **options: Any) -> NoReturn:
        """Refuse: diffusers rounds the latents to bytes between encode and decode.

        Raises:
            MissingError: Always.
        """
        raise MissingError("a bounded VAE does not round latents to bytes, as a call of AutoencoderTiny does", BEFORE)


def bounded(vae: VAE, theirs: Any, free: Callable[[], object] | None, keep: Path | None, **terms: Any) -> BoundedVAE:
    """Return the module for a VAE that takes the arguments of the one it was copied from, as in `BoundedVAE`."""
    kinds = {DCConfig: BoundedDC, TinyConfig: BoundedTiny}
    return kinds.get(type(vae.config), BoundedVAE)(vae, theirs, free, keep, **terms)
