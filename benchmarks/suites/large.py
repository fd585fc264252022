"""Measures pictures that are really large: exact and by sampled keys, beside the tiles of others in the same memory.

It takes hours: `python -m benchmarks run --suite large --large`. Without `--large` it is a rehearsal of small pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import Case
from benchmarks.runner import Group
from benchmarks.suites.peers import race
from zvae_tiled import demo

LIMIT = 3_000_000_000
"""The memory of each process, the interpreter and its libraries included."""

DEMO = (16, 32, 64, 64)
"""The widths of the demo VAE."""

SAMPLED: dict[str, Any] = {"quality": "sampled", "keys": 131072}


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield the demo VAE's picture; then a size at a time, exact, by sampled keys, and by others' tiles; then plans."""
    side = 12288 if large else 512
    alone = Case("large", "ours_file", side, side, budget="1GB", widths=DEMO, label="zvae_tiled, the demo VAE")
    yield Group((alone,), Path(demo.__file__).parent, _cats(side // 8, folder / "cats.npy"))
    for pixels in (2048, 4096, 6144) if large else (256,) if quick else (1024,):
        case = partial(Case, "large", height=pixels, width=pixels)
        cases = (
            case("ours_file", budget="2GB"),
            case("ours_file", budget="2GB", options=SAMPLED),
            case("diffusers_tiled", label="diffusers, tiles", options={"quality": "tiles"}),
            case("mflux_vae", label="mflux, tiles", options={"quality": "tiles", "mode": "tiles"}),
        )
        yield race(cases, folder, compare=True)
    for pixels in (8192, 16384, 32768) if large else (2048,):
        plan = partial(Case, "large", "planned", pixels, pixels, budget="4GB", label="zvae_tiled, planned only")
        yield Group((plan(), plan(options=SAMPLED)))


def _cats(side: int, file: Path) -> Path:
    """Save the demo's latents, repeated to `side` rows and columns."""
    cat = np.asarray(demo.latents("cat"), np.float32)
    down, across = (-(-side // count) for count in cat.shape[2:])
    np.save(file, np.tile(cat, (1, 1, down, across))[:, :, :side, :side])
    return file
