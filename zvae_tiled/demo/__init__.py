"""What comes with the package: a small trained VAE (`VAE.demo()`), latents of real pictures, and one of the pictures.

How it was trained, on what, and how good it is: ``training/`` in the repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from zvae_tiled.errors import LatentsError

FOLDER = Path(__file__).parent
"""The VAE's folder, as diffusers writes one: ``config.json`` and the weights."""

PICTURE = FOLDER / "cat.png"
"""What the latents ``cat`` were encoded from; the VAE was never trained on it."""


def names() -> tuple[str, ...]:
    """Return the names of the latents."""
    return tuple(sorted(path.stem for path in (FOLDER / "latents").glob("*.safetensors")))


def path(name: str) -> Path:
    """Return the file of the latents of that name.

    Raises:
        LatentsError: There are none.
    """
    if name not in names():
        raise LatentsError(f"no latents of the demo are called {name!r}", f"There are: {', '.join(names())}.")
    return FOLDER / "latents" / f"{name}.safetensors"


def latents(name: str) -> np.ndarray[Any, np.dtype[np.float16]]:
    """Return latents as a pipeline hands them over: (1, 16, h, w), scaled.

    Args:
        name: One of `names`; ``album`` is of 2048x2048 pixels.

    Raises:
        LatentsError: There are none of that name.
    """
    values: np.ndarray[Any, np.dtype[np.float16]] = load_file(path(name))["latents"]
    return values
