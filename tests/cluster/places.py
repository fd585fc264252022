"""A folder with a small VAE, latents and a picture, and orders for them; and what tests do inside a worker."""

from __future__ import annotations

import os
import signal
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.support.running import save_latents, save_vae
from zvae_tiled.order import Order

SIZES = ((6, 10), (9, 7), (6, 10), (12, 5))


def fill(place: Path) -> None:
    """Write a VAE, latents of several sizes, a batch, a picture and a file that holds no latents of this VAE."""
    save_vae(place / "vae")
    for number, (height, width) in enumerate(SIZES):
        save_latents(place / f"{number}.npy", height, width, seed=number)
    save_latents(place / "batch.npy", batch=2)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)).save(place / "picture.png")
    np.save(place / "bad.npy", np.zeros((1, 3, 4, 4), np.float32))


def orders(folder: str, vae: str = "vae") -> list[Order]:
    """Decodes of several sizes and of a batch, an encode, and a decode that cannot be had, in the middle."""
    decodes = [Order("decode", vae, f"{name}.npy", f"{folder}/{name}.png") for name in ("0", "1", "bad", "2", "3")]
    batch = Order("decode", vae, "batch.npy", f"{folder}/batch.npy", dtype="float32")
    return [*decodes, batch, Order("encode", vae, "picture.png", f"{folder}/picture.safetensors")]


def pictures(folder: str) -> dict[str, bytes]:
    """The files of a folder, by their names."""
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def die_once_written(flag: str, signals: int = signal.SIGKILL) -> None:
    """Let this worker write a picture and then die, before anyone hears of it: the first worker that gets so far."""
    work: Any = import_module("zvae_tiled.cluster.work")
    real = work.run

    def run(*args: Any) -> Any:
        report = real(*args)
        try:
            os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return report
        os.kill(os.getpid(), signals)
        return report

    work.run = run
