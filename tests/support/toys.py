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
