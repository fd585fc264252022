"""Measures what a work folder costs: the seconds of a decode with and without one, and those of its fsync calls.

    python -m benchmarks.resume [SIDE] [FOLDER]

The bundled VAE decodes random latents of SIDE pixels (default: 2048) into a PNG. Maps lie in FOLDER (default: here).
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from zvae_tiled import VAE
from zvae_tiled.wording import size


def main(side: int, folder: Path) -> None:
    """Print a line for a decode without a work folder, and one for a decode with it."""
    vae, sync, spent = VAE.demo(), os.fsync, list[float]()

    def timed(handle: int) -> None:
        start = time.perf_counter()
        sync(handle)
        spent.append(time.perf_counter() - start)

    cells, channels = side // vae.config.cell, vae.config.latents.channels
    latents = np.random.default_rng(0).standard_normal((1, channels, cells, cells)).astype(np.float32)
    print(describe())
    os.fsync = timed  # type: ignore[assignment]
    for work in (None, "work"):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            spent.clear()
            kept = None if work is None else Path(place) / work
            spill = Path(place) if work is None else None
            report = vae.decode_to_file(latents, Path(place) / "a.png", budget="1GB", work=kept, spill_folder=spill)
            taken = f"{report.seconds:.1f} s, {size(report.plan.spilled)} on disk"
            print(
                f"{'with a work folder' if work else 'without':<20}{taken}, {len(spent)} fsyncs in {sum(spent):.2f} s"
            )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(int(arguments[0]) if arguments else 2048, Path(arguments[1] if len(arguments) > 1 else "."))
