"""The two ends of an encode: a picture made ready for the first Step, and finished rows made a distribution."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx

from zvae_tiled.families import VAEConfig
from zvae_tiled.latent_space import LatentDistribution
from zvae_tiled.planner.ends import READY_ROWS
from zvae_tiled.sinks import ArraySink


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


class DistributionSink:
    """Gathers the encoder's own rows, and makes the distribution of them."""

    host_bytes = 0

    def __init__(
        self, config: VAEConfig, weights: Mapping[str, mx.array], shape: tuple[int, int, int], dtype: mx.Dtype
    ) -> None:
        """Hold the moments of latents (B, h, w) of this type."""
        self._convention = config.latents
        self._weights = weights
        self._moments = ArraySink((*shape, 2 * config.latent_channels), dtype, "mx")

    def write(self, picture: int, rows: mx.array) -> None:
        """Take the next rows of a picture's moments."""
        self._moments.write(picture, rows)

    def close(self) -> None:
        """Nothing is left to do."""

    def abort(self) -> None:
        """Free the moments."""
        self._moments.abort()

    def result(self) -> LatentDistribution:
        """Hand out the distribution."""
        found = LatentDistribution.from_moments(self._moments.result(), self._convention, self._weights)
        mx.eval(found.mean, found.logvar)
        self._moments.abort()
        return found
