"""Races: every tool decodes the same latents with the same weights, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import Case
from benchmarks.quality import structured_latents
from benchmarks.runner import Group
from benchmarks.weights import save_random_vae


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield a group per size. The first float32 picture of a group is its reference."""
    for pixels in (128,) if quick else (512, 1024, 2048) if large else (512, 1024):
        yield race(tuple(racers(pixels, 2 if pixels == 512 else 1)), folder, compare=True)


def race(cases: tuple[Case, ...], folder: Path, compare: bool) -> Group:
    """Return a group whose cases, all of one VAE and size, read the same weights and the same latents."""
    first = cases[0]
    config, cell = first.config, first.config.cell
    model, latents = folder / first.model, folder / f"{first.width}x{first.height}.npy"
    if not (model / "config.json").exists():  # it is written last
        save_random_vae(config, model)
    np.save(latents, structured_latents(first.height // cell, first.width // cell, config.latents.channels))
    return Group(cases, model, latents, compare)


def racers(pixels: int, rounds: int) -> Iterator[Case]:
    """Yield the tools: full decodes and bands in both types, then tools that tile."""

    def case(label: str, tool: str, dtype: str = "bfloat16", **more: Any) -> Case:
        return Case("peers", tool, pixels, pixels, dtype, rounds=rounds, label=label, **more)

    for dtype in ("float32", "bfloat16"):
        yield case("diffusers, full", "diffusers_full", dtype)
        yield case("zvae_tiled", "ours", dtype)
        yield case("zvae_tiled", "ours", dtype, budget="1.5GB" if pixels == 2048 else "half")
    if pixels == 512:  # compilation takes minutes
        compiled = {"compile": True}
        yield replace(case("diffusers, torch.compile", "diffusers_full", options=compiled), rounds=1)
    yield case("zvae_tiled, least budget", "ours", budget="least")
    yield case("zvae_tiled on MLX alone", "ours", kernels="mlx")
    yield case("mflux, strips", "mflux_vae", options={"quality": "strips", "mode": "strips"})
    yield case("mflux, tiles", "mflux_vae", options={"quality": "tiles", "mode": "tiles"})
    yield case("diffusers, tiles", "diffusers_tiled", options={"quality": "tiles"})
    if 512 <= pixels <= 1024:  # diffusers' default tile is 1024 pixels
        half = {"quality": "tiles", "tile": pixels // 2}
        for dtype in ("float32", "bfloat16"):
            yield case(f"diffusers, tiles of {pixels // 2}", "diffusers_tiled", dtype, options=half)
    yield case("ComfyUI-like, three passes", "comfy_like", options={"quality": "tiles"})
    yield case("A1111-like", "a1111_like", options={"quality": "tiles"})
