"""How exact the reference of the races is: diffusers and bands in float32, against diffusers in float64.

    python -m benchmarks.reference PYTHON [pixels ...]

PYTHON is an interpreter that has torch and diffusers. In float64 torch has no fast convolution: 512² takes 7 GB.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.case import Z_IMAGE, Case
from benchmarks.machine import describe
from benchmarks.quality import structured_latents
from benchmarks.runner import Group, Machine, run_child
from benchmarks.weights import save_random_vae
from zvae_tiled.metrics import max_error, psnr

LIMIT = 20 << 30
"""Bytes a child may take."""


def errors(pixels: int, machine: Machine, folder: Path) -> str:
    """Decode three times, and tell how far the float32 pictures are from the float64 one, as a share of its range."""
    model, latents = save_random_vae(Z_IMAGE, folder / "vae"), folder / "latents.npy"
    np.save(latents, structured_latents(pixels // 8, pixels // 8, Z_IMAGE.latent_channels))
    group = Group((), model, latents)
    pictures = []
    for tool, dtype in (("diffusers_full", "float64"), ("diffusers_full", "float32"), ("ours", "float32")):
        picture = folder / f"{tool}-{dtype}.npy"
        sample = run_child(Case("reference", tool, pixels, pixels, dtype, label=tool), group, picture, machine)
        if sample.outcome != "ok":
            sys.exit(sample.outcome)
        pictures.append(np.load(picture).astype(np.float64))
    want, theirs, ours = pictures
    span = float(want.max() - want.min())
    told = (f"{max_error(each, want) / span:.1e}, {psnr(each, want, span):.1f} dB" for each in (theirs, ours))
    return f"{pixels}²: " + "; ".join(f"{name} {each}" for name, each in zip(("diffusers", "bands"), told, strict=True))


def main() -> None:
    print(describe())
    machine = Machine(LIMIT, 1800.0, (sys.argv[1],))
    for pixels in [int(each) for each in sys.argv[2:]] or [512]:
        with tempfile.TemporaryDirectory() as folder:
            print(errors(pixels, machine, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
