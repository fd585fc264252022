"""Compares proxies of the latents with proxies of the map behind the middle block: a table for ``docs/notes/proxy.md``.

``python -m benchmarks.proxy`` uses a random decoder of four levels in float32, three maps of 96×96 latents, and proxies
of 32×32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe
from benchmarks.quality import structured_latents
from tests.support.models import narrow, random_vae
from zvae_tiled.devices.here import kernels_for, this_device
from zvae_tiled.engine.bands import Band, RamBands, Store
from zvae_tiled.engine.picture import PictureRun
from zvae_tiled.engine.proxy import shrunk
from zvae_tiled.engine.run import Run
from zvae_tiled.engine.spill_file import SpillFile
from zvae_tiled.inputs.latent_space import unscale_latents
from zvae_tiled.jobs.job import norms
from zvae_tiled.planner import layout
from zvae_tiled.planner.budget import Budget
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Exact, Quality, Stream
from zvae_tiled.report.metrics import psnr

import mlx.core as mx  # isort: skip, after zvae_tiled: it loads the BLAS

CONFIG = narrow("z-image", (16, 16, 32, 32), 8)
SIDE, FACTOR = 96, 3
PLENTY = Budget(1 << 34, "a benchmark")


class FromLatents(PictureRun):
    """Runs the middle block on the whole map, but takes all later moments from a decode of small latents."""

    def _middle(self, latents: mx.array, stack: ExitStack) -> Store[mx.array]:
        source = self._run(self.plan.stages[0]).stored(latents, stack)
        store: Store[mx.array] = Store(self.kernels, RamBands(self.kernels), [])
        store.append(Band(latents))
        small = shrunk(self.kernels, store, (FACTOR, FACTOR), (SIDE, SIDE), CONFIG.latent_channels)
        rows = self.parts(mx.concatenate(list(small.values().read(SIDE, release=False)), axis=1))
        plan = planned(rows.shape[1], rows.shape[2], Exact())
        affines: dict[int, Any] = {}
        run = Run(plan.case.chain, plan.pixels, self.kernels, self.weights, self.norms, self.spilled, affines=affines)
        for _ in run.rows(rows):
            pass
        self._affines.update({cut: affine for cut, affine in affines.items() if cut not in self._affines})
        return source

    def parts(self, rows: mx.array) -> mx.array:
        """Return both parts: averaged squares above, squares cut out below."""
        return rows


class FromLatentsAveraged(FromLatents):
    """Uses averaged squares only."""

    def parts(self, rows: mx.array) -> mx.array:
        """Return the upper part."""
        return rows[:, : SIDE // FACTOR]


def main() -> None:
    """Print the table."""
    layout.PROXY = SIDE // FACTOR
    noise = np.random.default_rng(0).standard_normal((1, CONFIG.latent_channels, SIDE, SIDE)).astype(np.float32)
    maps = {
        "structure 0": (structured_latents(SIDE, SIDE, CONFIG.latent_channels), 0),
        "noise": (noise, 1),
        "structure 2": (structured_latents(SIDE, SIDE, CONFIG.latent_channels, 2), 2),
    }
    ways: dict[str, Callable[..., PictureRun]] = {
        "latents, squares averaged": FromLatentsAveraged,
        "latents, both parts": FromLatents,
        "the map behind the middle block, both parts": PictureRun,
    }
    print(describe(), "\n")
    print(f"| proxy made from | {' | '.join(maps)} |\n|---|{'---|' * len(maps)}")
    lines: dict[str, list[str]] = {name: [] for name in ways}
    for latents, seed in maps.values():
        vae = random_vae(CONFIG, seed=seed)
        full = vae.decode(latents, output_type="np", raw=True)
        plan = planned(SIDE, SIDE, Stream())
        for name, way in ways.items():
            lines[name].append(f"{psnr(decoded(vae, latents, plan, way), full, float(np.ptp(full))):.1f} dB")
    for name, cells in lines.items():
        print(f"| {name} | {' | '.join(cells)} |")


def planned(height: int, width: int, quality: Quality) -> Plan:
    """Return a plan for latents of this size, in a budget that keeps everything."""
    device = this_device(mx.float32)
    return make_plan(Case(CONFIG, height, width, device.name, "float32", output="rows"), quality, PLENTY, device)


def decoded(vae: Any, latents: np.ndarray, plan: Plan, way: Callable[..., PictureRun]) -> np.ndarray:
    """Return the raw values of a decode by `way`."""
    weights = vae.weights
    ready = unscale_latents(mx.array(latents.transpose(0, 2, 3, 1)), CONFIG.latents, weights)
    with tempfile.TemporaryDirectory() as folder:
        kernels = kernels_for(this_device(mx.float32), mx.float32)
        run = way(plan, kernels, weights, norms(plan.case.chain, weights), SpillFile(Path(folder)), lambda *_: None)
        return np.concatenate([np.asarray(rows) for rows in run.rows(ready)], axis=1)


if __name__ == "__main__":
    main()
