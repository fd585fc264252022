"""zvae_tiled's decoder into a PNG, row by row: for pictures that no array holds. It measures the disk, too."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.case import Case, Files, Sample
from benchmarks.footprint import Footprint
from benchmarks.sittings import Sittings
from benchmarks.tools.ours import budget_of, latents_of, load, quality_of

OPEN = Path("/proc/self/fd")
"""Where Linux lists the files that this process has open."""


def measure(case: Case, files: Files) -> Sample:
    """Decode. With a work folder, go on where a child before this one was stopped, and add up the figures of both."""
    footprint = Footprint()
    vae, latents = load(case, files), latents_of(case, files)
    vae.decode(latents[:1, :, :8, :8])  # libraries start their threads in the first call
    size = budget_of(case, vae, latents)
    with tempfile.TemporaryDirectory() as spills, tempfile.TemporaryDirectory() as pictures:
        work = None if files.work is None else Path(files.work)
        picture = Path(pictures, "picture.png")
        footprint.forget()
        sittings = Sittings(
            (work or Path(pictures, "work")).with_suffix(".sittings"), work is not None and work.exists(), footprint
        )
        report = vae.decode_to_file(
            latents,
            picture,
            budget=f"{size}B",
            quality=quality_of(case),
            progress=lambda _: sittings.see(unnamed(Path(spills)) if work is None else named(work)),
            spill_folder=spills if work is None else None,
            work=work,
        )
        found = sittings.all()
        if files.picture:
            save_levels(picture, Path(files.picture))
    return Sample(
        seconds=sum(sitting.seconds for sitting in found),
        footprint=max(sitting.footprint for sitting in found),
        allocator_peak=report.measured_peak,
        predicted_peak=report.predicted_peak,
        budget=size,
        plan=report.plan.digest,
        flops=report.plan.predicted_flops,
        disk=max(sitting.disk for sitting in found),
        note=f"in {len(found)} sittings" if len(found) > 1 else "",
        environment={"others": max(sitting.others for sitting in found)},
    )


def named(work: Path) -> int:
    """Return the bytes of the maps in a work folder."""
    return sum(file.stat().st_size for file in work.glob("map-*"))


def unnamed(folder: Path) -> int:
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
