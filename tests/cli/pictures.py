"""Pictures that commands read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write(path: Path, seed: int, height: int = 12, width: int = 20) -> np.ndarray:
    """Write a picture, and return what is in the file."""
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(levels).save(path)
    return levels / np.float64(255)
