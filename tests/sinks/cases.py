"""Pictures of any size, written in bands of any height."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled.sinks import file_target
from zvae_tiled.sinks.kinds import KINDS
from zvae_tiled.sinks.target import Target

NOTES = {"Software": "zvae_tiled 1.2.3", "zvae_kernels": "cpu/avx512 bfloat16", "zvae_vae": "größer"}

FILES = tuple(ending for ending, kind in KINDS.items() if not kind.beside)
"""Endings of the formats that are one file."""

Pixels = np.ndarray[Any, np.dtype[Any]]


@dataclass
class Picture:
    """A picture of floats in [0, 1], the heights of the bands it comes in, and the kind of file it goes to."""

    values: Pixels
    bands: list[int]
    ending: str
    bits: int

    @classmethod
    def drawn(cls, rng: Random, endings: tuple[str, ...] = FILES, most: int = 40) -> Picture:
        """Draw a random picture: also single rows and columns, noise, and sizes next to the edges of tiles."""
        ending = rng.choice(endings)
        kind = KINDS[ending]
        height, width = (rng.choice([1, 2, 15, 16, 17, rng.randint(1, most), most]) for _ in range(2))
        channels = rng.choice(kind.channels or (1, 2, 3, 4, 7))
        numbers = np.random.default_rng(rng.randrange(1 << 32))
        values = numbers.random((height, width, channels), np.float32)
        if rng.random() < 0.5:
            values = np.cumsum(values - np.float32(0.5), axis=rng.randint(0, 1), dtype=np.float32) % 1
        bands, left = [], height
        while left:
            bands.append(rng.randint(1, left) if rng.random() < 0.7 else left)
            left -= bands[-1]
        return cls(np.minimum(values, np.float32(1)), bands, ending, rng.choice(kind.bits))

    def target(self, folder: Path, **options: Any) -> Target:
        return file_target(folder / f"picture{self.ending}", (1, *self.values.shape), self.bits, **options)

    def write(self, folder: Path, **options: Any) -> Path:
        target = self.target(folder, **options)
        sink, top = target.sink(NOTES), 0
        for rows in self.bands:
            sink.write(0, mx.array(self.values[None, top : top + rows]))
            top += rows
        assert sink.host_bytes == target.gathered
        sink.close()
        return target.paths[0]

    @property
    def stored(self) -> Pixels:
        """The pixels that the file must hold."""
        if self.bits == 32:
            return self.values
        most = np.float32((1 << self.bits) - 1)
        return np.rint(self.values * most).astype(np.uint8 if self.bits == 8 else np.uint16)
