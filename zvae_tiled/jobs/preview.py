"""`Preview`: a quick look at latents, by a tiny decoder of the same latents or from a small map of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx

from zvae_tiled.devices.here import this_device
from zvae_tiled.errors import BudgetError, ConfigError
from zvae_tiled.families import REPOSITORIES, preset_names
from zvae_tiled.families.tiny import TINY_OF, TinyConfig
from zvae_tiled.files.protect import Source
from zvae_tiled.inputs.latent_space import packed, scale_latents, unpacked
from zvae_tiled.inputs.shrink import shrunk, unchanged
from zvae_tiled.jobs.decode import Decode
from zvae_tiled.jobs.job import Terms
from zvae_tiled.planner.case import Output
from zvae_tiled.planner.cost import Costs, Size
from zvae_tiled.planner.plan import Plan
from zvae_tiled.report.report import Report
from zvae_tiled.weights.hub import find_in_cache

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE

SECONDS = 1.0
"""Latents are shrunk until the device is predicted to decode them in this time."""


class Preview(Decode):
    """A quick look at latents, checked and planned. Its pictures are not those of a full decode.

    Attributes:
        made_by: What decodes them, from how many of the latents.
        full: Whether the device is so fast, or the picture so small, that it is a full decode.
    """

    def __init__(
        self, vae: VAE, tiny: VAE | None, latents: mx.array, scaled: bool, terms: Terms, texts: Mapping[str, str]
    ) -> None:
        """Take checked latents. Most callers should use `VAE.preview`.

        Args:
            vae: The VAE of the latents.
            tiny: A tiny decoder of the same latents, if there is one.
            latents: A pipeline's latents (B, h, w, C).
            scaled: Whether scale and shift are not undone yet.
            terms: The options of the decode.
            texts: Texts for the files of the pictures.
        """
        decoder = vae if tiny is None else tiny
        factor = _factor(decoder, latents, vae.config.latents.patch)
        own, scale = vae.config.latents, unchanged
        if tiny is not None and not scaled:
            scale = partial(scale_latents, convention=own, weights=vae.weights)
        small = shrunk(latents, own, factor, scale) if factor > 1 else scale(latents)
        if tiny is not None:
            small = _repacked(small, vae, tiny)
        self._owner = vae
        self._beside = latents.nbytes + (0 if tiny is None else vae.weight_bytes)
        super().__init__(decoder, small, scaled or tiny is not None, terms, texts=texts)
        self.made_by = _made_by(vae, tiny, factor)
        self.full = tiny is None and factor == 1

    @property
    def _weights(self) -> int:
        """The weights of both decoders, and the latents."""
        return super()._weights + self._beside

    def _planned(self, output: Output, gathered: int = 0, replay: Plan | None = None) -> Plan:
        """Return the plan to run. An error names a preview, which was asked for."""
        try:
            return super()._planned(output, gathered, replay)
        except BudgetError as error:
            problem = error.problem.replace(" exact needs", " as a preview needs")
            raise BudgetError(problem, error.advice, error.needed) from error

    def _notes(self, plan: Plan) -> dict[str, str]:
        """Return what a picture's file says of how it was made."""
        note = {} if self.full else {"zvae_quality": f"preview, not exact: {self.made_by}"}
        return super()._notes(plan) | note

    @property
    def _how(self) -> str:
        return self.made_by

    def _described(self, report: Report) -> Report:
        if self.full:
            return report
        return replace(report, quality="preview", exact=False, statistics=self.made_by, expected_error="unknown")

    @property
    def _sources(self) -> tuple[Source, ...]:
        """The files of both decoders."""
        return (*super()._sources, *self._owner.sources)


def _factor(decoder: VAE, latents: mx.array, patch: int) -> int:
    """Return how many rows and columns of the latents become one, so that they are decoded in a second."""
    device, factor = this_device(decoder.dtype), 1
    chain, (height, width) = decoder.config.chain("decode"), latents.shape[1:3]
    while factor < min(height, width):
        rows, columns = (-(-side // factor) * patch for side in (height, width))
        costs = Costs(chain, Size(rows, columns, decoder.dtype.size), device)
        if latents.shape[0] * sum(costs.seconds(cut, device.band_rows) for cut in range(len(chain.steps))) <= SECONDS:
            break
        factor += 1
    return factor


def _repacked(latents: mx.array, vae: VAE, tiny: VAE) -> mx.array:
    """Return the latents of a VAE's pipeline packed as the tiny decoder reads them."""
    theirs, own = vae.config.latents, tiny.config.latents
    return packed(unpacked(latents, theirs.patch, theirs.order), own.patch, own.order)


def _made_by(vae: VAE, tiny: VAE | None, factor: int) -> str:
    size = "all latents" if factor == 1 else f"latents shrunk {factor} times"
    if tiny is None:
        return f"the VAE itself, from {size}"
    names, usual = preset_names(tiny.config), tiny_of(vae)
    name = usual if usual in names else "/".join(names) or tiny.config.class_name
    return f"{name}, from {size}"


def check_tiny(vae: VAE, tiny: VAE) -> None:
    """Refuse a decoder of other latents.

    Raises:
        ConfigError: It is none of TAESD's, or reads other latents.
    """
    if not isinstance(tiny.config, TinyConfig):
        raise ConfigError(f"tiny must be a TAESD, it is an {tiny.config.class_name}", "Use taef1, taesdxl, taef2, …")
    theirs, own = vae.config, tiny.config
    if (theirs.latent_channels, theirs.scale) != (own.latent_channels, own.scale):
        raise ConfigError(
            f"tiny must read latents of {theirs.latent_channels} channels, one for {theirs.scale}x{theirs.scale} "
            f"pixels, it reads {own.latent_channels}, one for {own.scale}x{own.scale}",
            f"Use the one for this model: {tiny_of(vae) or 'none is known'}.",
        )


def tiny_of(vae: VAE) -> str | None:
    """Return the preset of the tiny decoder that reads this VAE's latents, if one is known."""
    return next((TINY_OF[name] for name in preset_names(vae.config) if name in TINY_OF), None)


def found_tiny(vae: VAE) -> Path | None:
    """Return the path of this VAE's tiny decoder in the Hugging Face cache, if it is there."""
    return find_in_cache(REPOSITORIES.get(tiny_of(vae) or "", ()))
