"""Draws random trials: decodes and encodes of any VAE, size, type, quality and output, in any budget that works."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.process_child import input_of, loaded, run
from tests.support.models import PRESETS, narrow, save_random
from tests.support.plans import random_config
from zvae_tiled import VAE, BudgetError, Exact, Stream, Tiles, VAEConfig
from zvae_tiled.families import Task
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.planner.case import ITEMSIZES
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.quality import Quality, Statistics

DEMO = "demo"
"""The VAE that is bundled with the package."""

FLAT = AutoencoderKLConfig(latent_channels=4, block_out_channels=(8,), norm_num_groups=4, mid_block_add_attention=False)
"""A VAE of a few kilobytes with large maps, which take 100 MB within seconds."""

ENDS = ("mx", "np", "pil", "stream", ".png", ".tiff", ".npy", ".safetensors", ".jpg", ".webp")

FLOPS = 1.2e10
"""The most operations of a trial: about a second."""


@dataclass(frozen=True)
class Trial:
    """One decode or encode to measure.

    Attributes:
        family: Name of the VAE.
        config: Config of the VAE.
        height: Rows of the latents, as a pipeline has them.
        width: Columns of these latents.
        dtype: Type of the VAE.
        task: ``decode`` or ``encode``.
        end: The output of a decode: an output type, ``stream``, or the ending of a file.
        share: Position of the budget: 0 is the smallest that works, and 1 keeps everything.
        batch: Latents in the batch.
        bits: Bits per channel in a file. Default: the file format's own.
        quality: The quality.
        shared: Whether the input is an MLX array, which is not copied.
        seed: Seed of the latents or pictures.
    """

    family: str
    config: VAEConfig
    height: int
    width: int
    dtype: str = "float32"
    task: Task = "decode"
    end: str = "mx"
    share: float = 0.0
    batch: int = 1
    bits: int | None = None
    quality: Quality = field(default_factory=Exact)
    shared: bool = False
    seed: int = 0

    def order(self, folder: Path) -> dict[str, Any]:
        """Return the order for `benchmarks.process_child`. Weights and pictures are in the folder."""
        channels, scale = self.config.latents.returned
        if self.task == "encode":
            channels, scale = self.config.image_channels, self.config.cell
        order = {
            "weights": self._weights(folder),
            "config": str(_write_config(self.config, folder / "config.json")),
            "quality": {"name": self.quality.name, **asdict(self.quality)},
            "shape": (self.batch, self.height * scale, self.width * scale, channels),
            "folder": str(folder),
            **{name: getattr(self, name) for name in ("dtype", "task", "end", "bits", "shared", "seed")},
        }
        return {**order, "budget": self._budget(order)}

    def _weights(self, folder: Path) -> str | None:
        if self.family == DEMO:
            return None
        return (
            str(save_random(self.config, folder / "vae.safetensors"))
            if self.config.chain("decode").steps
            else self.family
        )

    def _budget(self, order: dict[str, Any]) -> int:
        vae, least = loaded(order), 0
        try:
            run(vae, input_of(order), {**order, "budget": 1})
        except BudgetError as error:
            least = error.needed
        size = (self.height * self.config.cell, self.width * self.config.cell)
        most = vae.plan(*size, budget="1000TB", batch=self.batch, task=self.task).predicted_peak
        least, most = least - PROCESS, most - PROCESS
        return PROCESS + max(least, int(least * (most / least) ** self.share))


def random_trial(seed: int, draw: Callable[[Random], tuple[str, VAEConfig]] | None = None) -> Trial:
    """Return a random trial.

    Args:
        seed: All of it follows from the seed.
        draw: Draws the name and the config of a VAE. Default: AutoencoderKL of any width.
    """
    rng = Random(seed)
    family, config = (draw or _vae)(rng)
    task: Task = "encode" if rng.random() < 0.2 else "decode"
    batch = rng.choice([1, 1, 1, 2])
    height, width = _size(config, task, batch, rng)
    end = rng.choice(ENDS) if task == "decode" else "mx"
    if end in ("pil", ".tiff", ".jpg", ".webp") and config.picture_channels != 3:
        end = "np"
    trial = Trial(
        family=family,
        config=config,
        height=height,
        width=width,
        dtype=rng.choice([name for name in ITEMSIZES if (family, name) != (DEMO, "float16")]),  # exceeds its range
        task=task,
        end=end,
        share=rng.choice([0, 0, 0.1, rng.random(), 1, 1.5]),
        batch=batch,
        bits=rng.choice([8, 16]) if end in (".png", ".tiff") else None,
        shared=rng.random() < 0.5,
        seed=seed,
    )
    return replace(trial, quality=_quality(config, rng)) if task == "decode" and rng.random() < 0.4 else trial


def _vae(rng: Random) -> tuple[str, VAEConfig]:
    kind = rng.choice([DEMO, "narrow", "flat", "random"])
    if kind == DEMO:
        return DEMO, VAE.demo().config
    if kind == "narrow":
        preset = rng.choice(PRESETS)
        return f"narrow {preset}", narrow(preset)
    return kind, FLAT if kind == "flat" else random_config(rng)


def _size(config: VAEConfig, task: Task, batch: int, rng: Random) -> tuple[int, int]:
    """Return rows and columns of latents. Small or large, tall or wide are equally likely, but none takes long."""
    shape, area = 2 ** rng.uniform(-3, 3), 2 ** rng.uniform(3, 24)
    while True:
        height, width = (max(1, round(side)) for side in ((area * shape) ** 0.5, (area / shape) ** 0.5))
        if height * width == 1 or batch * _flops(config, task, height, width) < FLOPS:
            return height, width
        area *= rng.uniform(0.5, 1)


def _flops(config: VAEConfig, task: Task, height: int, width: int) -> float:
    chain, total = config.chain(task), 0.0
    patch = config.latents.patch
    for step, factor in zip(chain.steps, chain.factors, strict=False):
        pixels = height * width * (patch * factor) ** 2
        keys = 4 * pixels if step.kind == "attention" else 18 * step.outputs * step.factor**2 / step.stride**2
        total += pixels * step.inputs * keys
    return total


def _quality(config: VAEConfig, rng: Random) -> Quality:
    if rng.random() < 0.3:
        return Stream()
    moments: Statistics = rng.choice(["global", "proxy", "tile"])
    if rng.random() >= 0.7:
        return Tiles(moments=moments)
    down, across = (rng.randint(6, 40) for _ in range(2))
    overlap = (rng.randint(0, down // 2) * config.cell, rng.randint(0, across // 2) * config.cell)
    return Tiles((down * config.cell, across * config.cell), overlap, moments=moments)


def _write_config(config: VAEConfig, path: Path) -> Path:
    path.write_text(json.dumps({"_class_name": config.class_name, **asdict(config)}))
    return path
