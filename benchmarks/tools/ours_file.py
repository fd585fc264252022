"""zvae_tiled's decoder into a PNG, row by row: for pictures that no array holds. It measures the disk, too."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.case import Case, Files, Sample
from benchmarks.footprint import Footprint
from benchmarks.tools.ours import budget_of, latents_of, load, quality_of

OPEN = Path("/proc/self/fd")
"""Where Linux lists the files that this process has open."""


def measure(case: Case, files: Files) -> Sample:
    """Decode."""
    footprint = Footprint()
    vae, latents = load(case, files), latents_of(case, files)
    vae.decode(latents[:1, :, :8, :8])  # libraries start their threads in the first call
    size, most = budget_of(case, vae, latents), 0
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as pictures:
        picture = Path(pictures, "picture.png")

        def look(_: object) -> None:
            nonlocal most
            most = max(most, spilled(Path(folder)))

        footprint.forget()
        start = time.perf_counter()
        report = vae.decode_to_file(
            latents, picture, budget=f"{size}B", quality=quality_of(case), progress=look, spill_folder=folder
        )
        taken = time.perf_counter() - start
        if files.picture:
            save_levels(picture, Path(files.picture))
    return Sample(
        seconds=taken,
        footprint=footprint.grown(),
        allocator_peak=report.measured_peak,
        predicted_peak=report.predicted_peak,
        budget=size,
        plan=report.plan.digest,
        flops=report.plan.predicted_flops,
        disk=most,
    )


def spilled(folder: Path) -> int:
    """Return the bytes of this process's files in a folder that have no name."""
    found = 0
    for handle in OPEN.iterdir() if OPEN.exists() else ():
        try:
            target = os.readlink(handle)
            found += handle.stat().st_size if target.startswith(f"{folder}/") and target.endswith("(deleted)") else 0
        except OSError:  # the handle that this loop itself had open
            continue
    return found


def save_levels(picture: Path, target: Path) -> None:
    """Save a PNG's levels as an array (1, H, W, 3) in [-1, 1]."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(picture) as image:
        levels = np.asarray(image)
    np.save(target, (levels.astype(np.float32) / 127.5 - 1)[None])
