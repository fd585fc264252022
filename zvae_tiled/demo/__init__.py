"""The files bundled with the package: a small trained VAE (`VAE.demo()`), latents of pictures, and one picture.

``training/`` in the repository documents how the VAE was trained, on which data, and how good it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from zvae_tiled.checks import shown
from zvae_tiled.errors import LatentsError

FOLDER = Path(__file__).parent
"""The VAE's folder, as diffusers writes one: ``config.json`` and the weights."""

PICTURE = FOLDER / "cat.png"
"""The picture that the latents ``cat`` were encoded from. The VAE was not trained on it."""


def names() -> tuple[str, ...]:
    """Return the names of the bundled latents."""
    return tuple(sorted(path.stem for path in (FOLDER / "latents").glob("*.safetensors")))


def path(name: str) -> Path:
    """Return the file of the latents called `name`.

    Raises:
        LatentsError: No latents have this name.
    """
    if not isinstance(name, str) or name not in names():
        raise LatentsError(f"no latents of the demo are called {shown(name)}", f"Choose one of: {', '.join(names())}.")
    return FOLDER / "latents" / f"{name}.safetensors"


def latents(name: str) -> np.ndarray[Any, np.dtype[np.float16]]:
    """Return latents (1, 16, h, w), scaled, as from a pipeline.

    Args:
        name: One of `names`. ``album`` decodes to 2048x2048 pixels.

    Raises:
        LatentsError: No latents have this name.
    """
    values: np.ndarray[Any, np.dtype[np.float16]] = load_file(path(name))["latents"]
    return values
