"""Decoders that no family has, to show what the engine does with any Chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from zvae_tiled.chain import DOUBLE, Chain, Norm, Skip, Step
from zvae_tiled.families.base import LatentConvention, Task, VAEConfig


@dataclass(frozen=True)
class LongSkip(VAEConfig):
    """A decoder with a skip around four convolutions, two of them behind norms."""

    class_name: ClassVar[str] = "LongSkip"
    in_channels: int = 3
    latent_channels: int = 4
    out_channels: int = 3

    @property
    def scale(self) -> int:
        """One doubling."""
        return 2

    @property
    def latents(self) -> LatentConvention:
        """Latents as they are."""
        return LatentConvention(4)

    def chain(self, task: Task) -> Chain:
        """The decoder's, whatever the task."""
        del task
        normed = [
            Step(name, "conv", 8, 8, norm=Norm(f"{name}_norm", 2), activation="silu") for name in ("second", "third")
        ]
        first, last = Step("first", "conv", 6, 8, opens=True), Step("last", "conv", 8, 8, closes=Skip(6, "wider"))
        up = Step("up", "conv", 8, 3, resample=DOUBLE)
        return Chain((Step("in", "conv", 4, 6), first, *normed, last, up), middle=5)


@dataclass(frozen=True)
class PixelNorms(LongSkip):
    """A decoder with RMS norms: the attention is the only barrier."""

    class_name: ClassVar[str] = "PixelNorms"

    def chain(self, task: Task) -> Chain:
        """The decoder's, whatever the task."""
        del task
        norms = [Norm(f"norm{number}", 1, 1e-12, "rms") for number in range(4)]
        return Chain(
            (
                Step("in", "conv", 4, 8),
                Step("attention", "attention", 8, 8, kernel=1, norm=norms[0], opens=True, closes=Skip(8)),
                Step("first", "conv", 8, 12, norm=norms[1], activation="silu", opens=True),
                Step("second", "conv", 12, 12, norm=norms[2], activation="silu", closes=Skip(8, "wider")),
                Step("up", "conv", 12, 8, resample=DOUBLE),
                Step("out", "conv", 8, 3, norm=norms[3], activation="silu"),
            ),
            middle=2,
        )
