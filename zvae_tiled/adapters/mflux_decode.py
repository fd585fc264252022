"""What a model of mflux calls in place of its VAE's decode and encode, and around its loop."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from zvae_tiled.adapters.maps import one_frame, unscaled
from zvae_tiled.adapters.rescue import Rescue, first_found, options_of
from zvae_tiled.errors import InputError
from zvae_tiled.inputs.latents import Latents
from zvae_tiled.planner.budget import is_share
from zvae_tiled.planner.quality import Quality
from zvae_tiled.vae import VAE


class BoundedDecode:
    """Decodes and encodes within a budget. Latents and pictures are as mflux has them.

    It is a callback of mflux too, which is told the prompt and the size. Latents are kept by the decode, not by the
    callback after the loop: there each model packs them in its own way, while every decode is given the same map.

    Attributes:
        decodes: Whether this decodes the pictures: with ``--pid-decode`` another decoder does.
    """

    decodes = True

    def __init__(
        self, vae: VAE, model: Any, budget: str | float | None, quality: Quality, keep: Path | None, source: str | None
    ) -> None:
        """Take a VAE, the model that it was copied from, and the arguments of `use`."""
        self.vae, self.budget, self.quality, self.keep, self.source = vae, budget, quality, keep, source
        published = getattr(getattr(model, "model_config", None), "model_name", None)
        self._model, self._small = published, bool(getattr(model, "small_decoder", False))
        self._packs = vae.config.latents.patch > 1  # then mflux normalises and packs by itself
        self._texts: dict[str, str] = {}
        self.rescue = Rescue()

    def put_into(self, model: Any) -> None:
        """Let a model call this object. Its own decoder and encoder are freed, and tiling is switched off."""
        theirs = model.vae
        theirs.bounded, theirs.decode, theirs.encode = self, self.decode, self.encode
        theirs.decoder = theirs.encoder = None
        model.tiling_config, theirs.supports_implicit_tiling = None, False
        model.save_model = self.save_model

    def release(self, model: Any) -> None:
        """Let mflux release text encoders before the loop, and the transformer after it, as with its ``--low-ram``."""
        from mflux.callbacks.instances.memory_saver import MemorySaver

        model.callbacks.register(MemorySaver(model, keep_transformer=False, cache_limit_bytes=None))

    def call_before_loop(self, prompt: str, config: Any, **others: Any) -> None:
        """Refuse a budget that is too small before the first step. A share of free memory is known after the last."""
        self._texts = {"prompt": str(prompt), "seed": str(others.get("seed", ""))}
        if self.decodes and not is_share(self.budget):
            self.vae.plan(config.height, config.width, self.budget, quality=self.quality)

    def decode(self, latents: mx.array) -> mx.array:
        """Decode latents (B, C, h, w), with or without an axis for one frame, as this class of VAEs is given them."""
        gc.collect()
        mx.clear_cache()
        given = self._latents(one_frame(latents, "latents"))
        self.rescue.keep(given, self.keep, self._options())
        try:
            found: mx.array = self.vae.decode(given, raw=True, layout="NCHW", budget=self.budget, quality=self.quality)
        except BaseException as error:
            self.rescue.tell(error)
            raise
        return found if self._packs else found[:, :, None]

    def encode(self, images: mx.array) -> mx.array:
        """Encode pictures (B, 3, H, W) in [-1, 1], with or without an axis for one frame."""
        given = mx.moveaxis(one_frame(images, "images"), 1, -1)
        found: mx.array = self.vae.encode(given, raw=True, scaled=not self._packs, budget=self.budget).mean
        return found if self._packs else found[:, :, None]

    def save_model(self, *args: Any, **options: Any) -> None:
        """Refuse: the model's VAE is empty.

        Raises:
            InputError: Always.
        """
        del args, options
        raise InputError("a model with a bounded VAE cannot be saved", "Save it before use().")

    def _latents(self, latents: mx.array) -> Latents:
        given = unscaled(latents, self.vae.config.latents) if self._packs else Latents(latents)
        return replace(given, texts=self._texts)

    def _options(self) -> dict[str, str]:
        """Return the options with which `zvae decode` decodes the same."""
        # A small decoder is in no model: mflux takes it from its own repository.
        found = "flux2-small" if self._small else first_found(self.source, self._model)
        return options_of(self.vae, found, self.budget, self.quality)
