"""`Encode`: one encode, checked, which only has to run."""

from __future__ import annotations

import mlx.core as mx

from zvae_tiled.families import Task
from zvae_tiled.inputs.latent_space import LatentDistribution
from zvae_tiled.jobs.job import Job
from zvae_tiled.planner.ends import READY_ROWS
from zvae_tiled.sinks.distribution import DistributionSink


class Encode(Job):
    """An encode that is checked."""

    task: Task = "encode"

    def distribution(self) -> LatentDistribution:
        """Encode into the distribution of the latents."""
        vae = self._vae
        sink = DistributionSink(vae.config, vae.weights, (self._given.shape[0], *self._size), vae.dtype)
        self._run(self.planned("array"), sink)
        return sink.result()

    @property
    def _size(self) -> tuple[int, int]:
        scale = self._vae.config.scale
        return self._given.shape[1] // scale, self._given.shape[2] // scale

    def _ready(self, picture: int) -> mx.array:
        return ready_image(self._given[picture : picture + 1], self._vae.dtype)

    def _finish(self, rows: mx.array) -> mx.array:
        return rows


def ready_image(image: mx.array, dtype: mx.Dtype) -> mx.array:
    """Return a picture (1, H, W, C) in [-1, 1], in the VAE's type; some rows at a time, so that no copy is as large."""
    ready = mx.zeros(image.shape, dtype=dtype)
    mx.eval(ready)
    for top in range(0, image.shape[1], READY_ROWS):
        rows = image[:, top : top + READY_ROWS].astype(mx.float32)
        if image.dtype == mx.uint8:
            rows = rows / 255
        ready[:, top : top + READY_ROWS] = (rows * 2 - 1).astype(dtype)
        mx.eval(ready)  # in place: nobody else holds the array before
    return ready
