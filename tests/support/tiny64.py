"""TAESD in float64, in plain NumPy, from its author's description: a list of modules for each half.

It reads the author's own names: a number is the place in that list. It shares no line with the package. Maps are
(height, width, channels), weights (out, in, rows, columns).
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray
Weights = dict[str, Array]

TAEF1 = (
    "clamp conv relu block block block up conv block block block up conv block block block up conv block conv",
    "conv block half block block block half block block block half block block block conv",
)
TAESANA = (
    f"clamp conv relu {'block block block up conv ' * 5}block conv",
    "half relu half relu block half block block block half block block block half block block block conv",
)
TAEQI = (
    f"{TAEF1[0]} unpack",
    "pack conv relu block half block block block half block block block half block block block conv",
)
"""The modules of the decoder, and of the encoder. TAEF2 has TAEF1's, some of whose blocks have a pool."""


def run64(modules: str, weights: Weights, x: Array) -> Array:
    """Apply the modules to a map, one after the other. `weights` have the author's own names."""
    for number, module in enumerate(modules.split()):
        x = apply64(module, {name: w for name, w in weights.items() if name.startswith(f"{number}.")}, f"{number}.", x)
    return x


def apply64(module: str, weights: Weights, name: str, x: Array) -> Array:
    """Apply one module, whose weights have names that begin with `name`."""
    if module == "clamp":
        return np.asarray(np.tanh(x / 3) * 3)
    if module == "relu":
        return np.asarray(np.maximum(x, 0))
    if module == "up":
        return x.repeat(2, axis=0).repeat(2, axis=1)
    if module == "unpack":
        pixels = x.reshape(*x.shape[:2], -1, 2, 2).transpose(0, 3, 1, 4, 2)
        return pixels.reshape(2 * x.shape[0], 2 * x.shape[1], -1)
    if module == "pack":
        cells = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).transpose(0, 2, 4, 1, 3)
        return cells.reshape(*cells.shape[:2], -1)
    if module == "block":
        return _block(weights, name, x)
    return conv64(weights, name, x)[:: 2 if module == "half" else 1, :: 2 if module == "half" else 1]


def _block(weights: Weights, name: str, x: Array) -> Array:
    if f"{name}pool.0.weight" in weights:
        wide = conv64(weights, f"{name}pool.0.", x)
        grouped = wide.reshape(-1, 4, wide.shape[-1] // 4)
        grouped = (grouped - grouped.mean((0, 2), keepdims=True)) / np.sqrt(grouped.var((0, 2), keepdims=True) + 1e-5)
        normal = grouped.reshape(wide.shape) * weights[f"{name}pool.1.weight"] + weights[f"{name}pool.1.bias"]
        x = x + conv64(weights, f"{name}pool.3.", np.maximum(normal, 0))
    y = conv64(weights, f"{name}conv.0.", x)
    y = conv64(weights, f"{name}conv.2.", np.maximum(y, 0))
    y = conv64(weights, f"{name}conv.4.", np.maximum(y, 0))
    return np.asarray(np.maximum(x + y, 0))


def conv64(weights: Weights, name: str, x: Array) -> Array:
    """Convolve a map with the weight, and the bias if there is one, that this name begins."""
    kernel = weights[f"{name}weight"]
    size, (height, width, _) = kernel.shape[2], x.shape
    padded = np.pad(x, ((size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    y: Array = np.zeros((height, width, kernel.shape[0])) + weights.get(f"{name}bias", 0.0)
    for down in range(size):
        for right in range(size):
            y += padded[down : down + height, right : right + width] @ kernel[:, :, down, right].T
    return y
