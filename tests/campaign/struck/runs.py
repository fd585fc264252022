"""Small decodes and encodes of every kind, which a failing call may end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.support.models import random_images
from tests.support.plans import bits, plan_for
from tests.support.running import CONFIG, save_latents, save_vae
from zvae_tiled import VAE
from zvae_tiled.errors import OutOfMemoryError

SIDES = (24, 40)
"""Rows and columns of the latents."""


@dataclass(frozen=True)
class Given:
    """What the runs read.

    Attributes:
        vae: The folder of the VAE.
        latents: The latents.
        images: The images.
    """

    vae: Path
    latents: np.ndarray
    images: np.ndarray

    @classmethod
    def made(cls, folder: Path) -> Given:
        """Write a VAE, and draw latents and images."""
        vae = save_vae(folder / "vae")
        latents = np.load(save_latents(folder / "latents.npy", *SIDES))
        return cls(vae, latents, random_images(CONFIG, *SIDES))

    def loaded(self) -> VAE:
        return VAE.load(self.vae, "float32", decoder_only=False)


def _file(*names: str, **options: Any) -> Run:
    def run(given: Given, folder: Path) -> None:
        own = {key: folder / value if key in ("work", "spill_folder") else value for key, value in options.items()}
        vae = given.loaded()
        if own.pop("disk", False):
            own["plan"] = plan_for(vae, given.latents.shape, Random(1), ("disk",))
        vae.decode_to_file(given.latents, [folder / name for name in names], **own)

    return run


def _bits(array: Any) -> bytes:
    """Return the bytes of a result. Memory may run out here too, which is no fault of the package."""
    try:
        return bits(array)
    except MemoryError as error:
        raise OutOfMemoryError("memory ran out in the campaign's own copy") from error


def _array(given: Given, folder: Path, **options: Any) -> bytes:
    return _bits(given.loaded().decode(given.latents, spill_folder=folder, **options))


def _streamed(given: Given, folder: Path) -> bytes:
    return b"".join(map(_bits, given.loaded().stream(given.latents, budget="1GB", spill_folder=folder)))


def _encoded(given: Given, folder: Path) -> bytes:
    return _bits(given.loaded().encode(given.images, budget="1GB", spill_folder=folder).mean)


Run = Callable[[Given, Path], bytes | None]
"""Decodes or encodes into a folder. It returns what it has not written there."""

EACH: dict[str, Run] = {
    "a PNG, maps on disk": _file("a.png", bits=16, spill_folder="", disk=True),
    "a TIFF, automatic budget": _file("a.tif"),
    "a work folder": _file("a.png", "b.tif", budget="1GB", work="work"),
}
"""Runs in which every call fails in turn."""

OTHERS: dict[str, Run] = {
    "an array": partial(_array, budget="1GB"),
    "an array, automatic budget": _array,
    "tiles": partial(_array, budget="1GB", quality="tiles"),
    "one sweep": partial(_array, budget="1GB", quality="stream"),
    "a stream": _streamed,
    "an encode": _encoded,
    "two files": _file("a.npy", "b.png"),
    "a pyramid": _file("a.ptif", budget="1GB"),
    "a Deep Zoom picture": _file("a.dzi", budget="1GB"),
    "a WebP": _file("a.webp", budget="1GB"),
    "a safetensors file": _file("a.safetensors", budget="1GB"),
}

RUNS = EACH | OTHERS


def result(returned: bytes | None, folder: Path) -> str:
    """Return the digest of what a run gave: what it returned, and the files in its folder, by name.

    A work folder that cannot be removed is a warning.
    """
    total = hashlib.sha256(returned or b"")
    for path in sorted(set(folder.rglob("*")) - {folder / "work", *folder.glob("work/*")}):
        total.update(f"{path.relative_to(folder)};".encode() + (path.read_bytes() if path.is_file() else b""))
    return total.hexdigest()
