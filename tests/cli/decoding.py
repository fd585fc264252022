"""Checks of the files that `zvae decode` writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from zvae_tiled import VAE


def levels(path: Path, source: Path, dtype: str = "bfloat16") -> bool:
    """Return whether a PNG holds the picture that the library decodes."""
    (want,) = VAE.load(path.parent / "vae", dtype).decode(np.load(source), output_type="pil")
    with Image.open(path) as image:
        return np.array_equal(np.asarray(image), np.asarray(want))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
