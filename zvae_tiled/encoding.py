"""The two ends of an encode: a picture made ready for the first Step, and finished rows made a distribution."""

from __future__ import annotations

import mlx.core as mx

from zvae_tiled.config import VAEConfig
from zvae_tiled.distribution import LatentDistribution
from zvae_tiled.plan.ends import READY_ROWS
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
    """Fills mean and log-variance, shifted and scaled, from the encoder's own rows."""

    host_bytes = 0

    def __init__(self, config: VAEConfig, shape: tuple[int, int, int], dtype: mx.Dtype) -> None:
        """Hold distributions of latents (B, h, w, channels) of this type."""
        self._config = config
        self._mean, self._logvar = (ArraySink((*shape, config.latent_channels), dtype, "mx") for _ in range(2))

    def write(self, picture: int, rows: mx.array) -> None:
        """Take the next rows of a picture's latents."""
        part = LatentDistribution.from_moments(rows, self._config)
        self._mean.write(picture, part.mean)
        self._logvar.write(picture, part.logvar)

    def close(self) -> None:
        """Nothing is left to do."""

    def abort(self) -> None:
        """Free the arrays."""
        self._mean.abort()
        self._logvar.abort()

    def result(self) -> LatentDistribution:
        """Hand out the distribution."""
        return LatentDistribution(self._mean.result(), self._logvar.result())
