"""The photographs. All are in scikit-image's wheel, and are CC0 or in the public domain (README.md lists them)."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

TRAINED = {
    "astronaut.png": 4.0,
    "coffee.png": 4.0,
    "rocket.jpg": 3.0,
    "retina.jpg": 1.0,
    "hubble_deep_field.jpg": 1.0,
    "camera.png": 2.0,
    "brick.png": 1.0,
    "grass.png": 1.0,
    "gravel.png": 1.0,
    "cell.png": 0.3,
    "horse.png": 0.3,
    "clock_motion.png": 0.3,
}
"""The training pictures, and how often each is chosen. The rightmost quarter of each is held out."""

HELD_OUT = "chelsea.png"
"""A picture that is never trained on."""

SCALES = (1.6, 1.0, 0.7, 0.5, 0.35)
"""Factors by which each picture is resized. The same edge is sharp at one factor and soft at another."""


def picture(name: str) -> Image.Image:
    """Open a picture of scikit-image by its file name."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise SystemExit("scikit-image is not installed: pip install -r training/requirements.txt")
    return Image.open(Path(spec.origin).parent / "data" / name).convert("RGB")


def training_part(image: Image.Image) -> Image.Image:
    """Return the left three quarters."""
    return image.crop((0, 0, image.width * 3 // 4, image.height))


def held_out_part(image: Image.Image) -> Image.Image:
    """Return the rightmost quarter."""
    return image.crop((image.width * 3 // 4, 0, image.width, image.height))


def as_tensor(image: Image.Image) -> torch.Tensor:
    """Return a picture as (3, H, W) uint8."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's view of an image is read-only, but it is copied right here
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


class Crops:
    """Random crops of the training parts: flipped, rotated and recoloured."""

    def __init__(self, seed: int) -> None:
        """Resize every picture by every scale. `seed` decides all random choices."""
        self.random = np.random.default_rng(seed)
        self.levels: list[list[torch.Tensor]] = []
        for name in TRAINED:
            part = training_part(picture(name))
            sizes = [(round(part.width * scale), round(part.height * scale)) for scale in SCALES]
            self.levels.append([as_tensor(part.resize(size, Image.Resampling.LANCZOS)) for size in sizes])
        weights = np.array(list(TRAINED.values()))
        self.chances = weights / weights.sum()

    def batch(self, count: int, size: int) -> torch.Tensor:
        """Return (count, 3, size, size) in [-1, 1]."""
        return torch.stack([self._crop(size) for _ in range(count)])

    def _crop(self, size: int) -> torch.Tensor:
        random = self.random
        levels = self.levels[random.choice(len(self.levels), p=self.chances)]
        fitting = [level for level in levels if min(level.shape[1:]) >= size]
        level = fitting[random.integers(len(fitting))]
        top, left = (random.integers(extent - size + 1) for extent in level.shape[1:])
        crop = level[:, top : top + size, left : left + size].float() / 255
        crop = torch.rot90(crop, int(random.integers(4)), (1, 2))
        crop = crop.flip(2) if random.random() < 0.5 else crop
        return self._coloured(crop).clamp(0, 1) * 2 - 1

    def _coloured(self, crop: torch.Tensor) -> torch.Tensor:
        random = self.random
        grey = crop.mean(0, keepdim=True)
        if random.random() < 0.1 or (float((crop - grey).abs().max()) < 0.02 and random.random() < 0.7):
            dark, light = torch.from_numpy(random.random((2, 3, 1, 1)).astype(np.float32))
            return dark + (light - dark) * grey  # two colours, and all shades between them
        if random.random() < 0.25:
            crop = crop[torch.from_numpy(random.permutation(3))]
        if random.random() < 0.6:
            saturation, gain, shift = random.uniform((0.5, 0.7, -0.15), (1.4, 1.3, 0.15))
            crop = (grey + (crop - grey) * float(saturation) - 0.5) * float(gain) + 0.5 + float(shift)
        return crop
