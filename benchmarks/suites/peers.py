"""Races: the same weights and the same latents through every tool, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import Z_IMAGE, Case
from benchmarks.quality import structured_latents
from benchmarks.runner import Group
from benchmarks.weights import save_random_vae


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield a group a size; the first case of a group that gives a float32 picture is the reference."""
    model = save_random_vae(Z_IMAGE, folder / "vae")
    for pixels in (128,) if quick else (512, 1024, 2048) if large else (512, 1024):
        latents = folder / f"{pixels}.npy"
        np.save(latents, structured_latents(pixels // 8, pixels // 8, Z_IMAGE.latent_channels))
        yield Group(tuple(racers(pixels, 3 if pixels == 512 else 1)), model, latents, compare=True)


def racers(pixels: int, rounds: int) -> Iterator[Case]:
    """Yield the tools: full decodes and bands of both types, then what tiles, in one round."""

    def case(label: str, tool: str, dtype: str = "bfloat16", rounds: int = rounds, **more: Any) -> Case:
        return Case("peers", tool, pixels, pixels, dtype, rounds=rounds, label=label, **more)

    for dtype in ("float32", "bfloat16"):
        yield case("diffusers, full", "diffusers_full", dtype)
        yield case("zvae_tiled", "ours", dtype)
        yield case("zvae_tiled", "ours", dtype, budget="1.5GB" if pixels == 2048 else "half")
    yield case("zvae_tiled, least budget", "ours", budget="least", rounds=1)
    yield case("zvae_tiled on MLX alone", "ours", kernels="mlx", rounds=1)
    once = partial(case, rounds=1)
    yield once("mflux, strips", "mflux_vae", options={"quality": "strips", "mode": "strips"})
    yield once("mflux, tiles", "mflux_vae", options={"quality": "tiles", "mode": "tiles"})
    yield once("diffusers, tiles", "diffusers_tiled", options={"quality": "tiles"})
    if 512 <= pixels <= 1024:  # its own tile is 1024 pixels
        half = {"quality": "tiles", "tile": pixels // 2}
        yield once(f"diffusers, tiles of {pixels // 2}", "diffusers_tiled", options=half)
    yield once("ComfyUI-like, three passes", "comfy_like", options={"quality": "tiles"})
    yield once("A1111-like", "a1111_like", options={"quality": "tiles"})
