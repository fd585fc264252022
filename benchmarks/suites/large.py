"""Measures pictures that are really large: exact and by sampled keys, beside the tiles of others in the same memory.

On a CPU it takes hours: `python -m benchmarks run --suite large --large --keep FOLDER`. After Ctrl-C the same command
goes on. The case that was stopped begins anew; the demo VAE's decode, the longest one, goes on at its last note.
Without `--large` it is a rehearsal of small pictures.
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
from zvae_tiled.devices.native_cpu.choice import native_status
from zvae_tiled.devices.table import likely_device

GPU = likely_device() != "cpu"

LIMIT = 1 << 37 if GPU else 3_000_000_000
"""The memory of each process, the interpreter and its libraries included. On a GPU, budgets limit the card instead."""

TIMEOUT = 6 * 3600.0
"""The most seconds of each process."""

DTYPE = "bfloat16" if GPU or native_status().path != "avx2" else "float32"
"""Without instructions for bfloat16, torch takes minutes for what it does in seconds in float32."""

DEMO = (16, 32, 64, 64)
"""The widths of the demo VAE."""

SAMPLED: dict[str, Any] = {"quality": "sampled", "keys": 131072}


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield plans; the largest race; the demo VAE's picture; then smaller races, for tools that fail in the largest."""
    for pixels in (8192, 16384, 32768) if large else (2048,):
        plan = partial(Case, "large", "planned", pixels, pixels, budget="4GB", label="zvae_tiled, planned only")
        yield Group((plan(), plan(options=SAMPLED)))
    largest, *smaller = (6144, 4096, 2048, 1024) if large else (256,) if quick else (1024,)
    yield race(tuple(racers(largest)), folder, compare=True)
    side = 12288 if large else 512
    demo_vae = Case(
        "large",
        "ours_file",
        side,
        side,
        DTYPE,
        budget="1GB",
        widths=DEMO,
        label="zvae_tiled, the demo VAE",
        resumed=True,
    )
    yield Group((demo_vae,), Path(demo.__file__).parent, _cats(side // 8, folder / "cats.npy"))
    for pixels in smaller:
        yield race(tuple(racers(pixels)), folder, compare=True)


def racers(pixels: int) -> Iterator[Case]:
    """Yield exact, sampled keys, and the tiles of others. Smaller tiles of diffusers may fit where its own do not."""
    case = partial(Case, "large", height=pixels, width=pixels, dtype=DTYPE, budget="2GB")
    yield case("ours_file")
    yield case("ours_file", options=SAMPLED)
    yield case("diffusers_tiled", label="diffusers, tiles", options={"quality": "tiles"})
    half = {"quality": "tiles", "tile": 512}
    yield case("diffusers_tiled", label="diffusers, tiles of 512", options=half)
    yield case("mflux_vae", dtype="bfloat16", label="mflux, tiles", options={"quality": "tiles", "mode": "tiles"})


def _cats(side: int, file: Path) -> Path:
    """Save the demo's latents, repeated to `side` rows and columns."""
    cat = np.asarray(demo.latents("cat"), np.float32)
    down, across = (-(-side // count) for count in cat.shape[2:])
    np.save(file, np.tile(cat, (1, 1, down, across))[:, :, :side, :side])
    return file
