"""`Encode`: one encode that is checked and ready to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlx.core as mx

from zvae_tiled.devices.evaluated import evaluate
from zvae_tiled.families import Task
from zvae_tiled.inputs.latent_space import LatentDistribution
from zvae_tiled.jobs.job import Job, Terms
from zvae_tiled.planner.ends import READY_ROWS
from zvae_tiled.sinks.distribution import DistributionSink

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE


class Encode(Job):
    """An encode that is checked."""

    task: Task = "encode"

    def __init__(self, vae: VAE, images: mx.array, terms: Terms, raw: bool = False, scaled: bool = True) -> None:
        """Take checked pictures. Most callers should use `VAE.encode`.

        Args:
            vae: The VAE.
            images: Pictures (B, H, W, C).
            terms: The options of the encode.
            raw: Whether they are as the encoder reads them, about [-1, 1].
            scaled: Whether the latents are those of a pipeline, not the encoder's own.
        """
        super().__init__(vae, images, terms)
        self._raw = raw
        self._convention = vae.config.latents if scaled else vae.config.latents.own

    def distribution(self) -> LatentDistribution:
        """Encode into the distribution of the latents."""
        vae = self._vae

        def attempt() -> LatentDistribution:
            sink = DistributionSink(self._convention, vae.weights, (self._inputs.shape[0], *self._size), vae.dtype)
            self._run(self._planned("array"), sink)
            return sink.result()

        return self._attempted(attempt)

    @property
    def _size(self) -> tuple[int, int]:
        scale = self._vae.config.scale
        return self._inputs.shape[1] // scale, self._inputs.shape[2] // scale

    def _ready(self, picture: int) -> mx.array:
        return ready_image(self._inputs[picture : picture + 1], self._vae.dtype, self._vae.config.unit, self._raw)

    def _finish(self, rows: mx.array) -> mx.array:
        return rows


def ready_image(image: mx.array, dtype: mx.Dtype, unit: bool = False, raw: bool = False) -> mx.array:
    """Return a picture (1, H, W, C) in [-1, 1], or in [0, 1] if `unit`, and in the VAE's type.

    It is converted in parts to avoid a float32 copy. If `raw`, it is in [-1, 1] already.
    """
    ready = mx.zeros(image.shape, dtype=dtype)
    evaluate(ready)
    for top in range(0, image.shape[1], READY_ROWS):
        rows = image[:, top : top + READY_ROWS].astype(mx.float32)
        if image.dtype == mx.uint8:
            rows = rows / 255
        if unit == raw:  # else it is in the encoder's range
            rows = rows * 0.5 + 0.5 if raw else rows * 2 - 1
        ready[:, top : top + READY_ROWS] = rows.astype(dtype)
        evaluate(ready)  # in place, because there is no other reference to the array
    return ready
