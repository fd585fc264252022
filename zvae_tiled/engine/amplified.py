"""By how much a decoder amplifies an error behind its attention: measured by white noise in a crop of the latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from zvae_tiled.devices.kernels import Kernels

NOISE = 0.05
"""RMS of the noise, as a share of the map. Rounding to bfloat16 changes the picture by a tenth of what this does."""

SIDE = 32
"""Rows and columns of the crop, at most: it is decoded in the time of a picture of 256×256 pixels."""


def crop_of(height: int, width: int, patch: int) -> tuple[int, int]:
    """Return the rows and columns of the crop: at most a quarter of those of a pipeline's latents.

    Args:
        height: Rows of the pipeline's latents.
        width: Columns of the pipeline's latents.
        patch: Rows and columns of the VAE's latents in one of these.
    """
    rows, columns = (max(1, min(SIDE // patch, side // 4)) for side in (height, width))
    return rows, columns


def amplification(kernels: Kernels[Any], decode: Callable[[Kernels[Any]], Iterator[Any]]) -> float:
    """Return the RMS of the error in the picture, of values in [0, 1], by that of the map as a share of the map.

    Args:
        kernels: The device.
        decode: Decodes the crop by these kernels, and yields its rows, about [-1, 1].
    """
    plain = [np.clip(kernels.to_host(rows), -1, 1) for rows in decode(kernels)]
    noisy: Any = NoisyKernels(kernels)
    squares = [  # of each row, because bands may have different heights
        np.square(np.clip(kernels.to_host(rows), -1, 1) - plain.pop(0)).mean(axis=(1, 2), dtype=np.float64)
        for rows in decode(noisy)
    ]
    return float(np.sqrt(np.concatenate(squares).mean())) / 2 / NOISE


class NoisyKernels:
    """Kernels that add white noise to the result of the attention."""

    def __init__(self, kernels: Kernels[Any]) -> None:
        """Take the kernels."""
        self._kernels = kernels
        self._rng = np.random.default_rng(0)

    def __getattr__(self, name: str) -> Any:
        """Return what the kernels have."""
        return getattr(self._kernels, name)

    def attend(self, *args: Any) -> Any:
        """Return the attention's result with noise."""
        rows = self._kernels.to_host(self._kernels.attend(*args))
        noise = self._rng.standard_normal(rows.shape, np.float32)
        noise *= np.float32(NOISE) * np.sqrt(np.square(rows, dtype=np.float64).mean(axis=(1, 2), keepdims=True))
        return self._kernels.from_host(rows + noise)
