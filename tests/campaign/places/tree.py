"""A folder with everything that is read, and precious files outside; what is there must not change."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.support.running import CONFIG, save_latents, save_vae
from zvae_tiled import plan
from zvae_tiled.errors import ZvaeError


def tree(folder: Path) -> Path:
    """Make ``work`` to be in, with a VAE, latents, a picture and a plan, and ``precious`` beside it."""
    place = folder / "work"
    (folder / "precious").mkdir()
    (folder / "precious" / "secret.safetensors").write_bytes(b"secret")
    save_vae(place / "vae")
    save_latents(place / "latents.npy", 3, 4)
    np.save(place / "picture.npy", np.random.default_rng(0).random((6, 8, 3), np.float32))
    (place / "plan.json").write_text(plan(CONFIG, 6, 8, "1GB", dtype="float32").to_json())
    (place / "out").mkdir()
    return place


@contextmanager
def unchanged(folder: Path, out: Path) -> Iterator[None]:
    """Check that nothing appears, changes or goes but in `out`."""
    before = _state(folder, out)
    try:
        yield
    finally:
        after = _state(folder, out)
        assert after == before, sorted(set(map(str, after.items())) ^ set(map(str, before.items())))


def _state(folder: Path, out: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_relative_to(out):
            continue
        status = os.lstat(path)
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else status.st_mode
        found[str(path)] = (status.st_ino, content)
    return found


def refused(error: ZvaeError | None, told: str) -> None:
    """Check that an error of this package was raised."""
    assert error is not None, f"{told}: it was not refused"
    assert str(error).strip(), told


def moved(path: Path) -> Path:
    """Move a file, or a folder, away, so that something else can take its place; return where it is."""
    kept = path.with_name(f"real-{path.name}")
    shutil.move(path, kept)
    return kept
