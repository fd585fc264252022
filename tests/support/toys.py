"""Decoders that no family has, to show what the engine does with any Chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from zvae_tiled.chain import DOUBLE, HALVE, Chain, Norm, Padding, Skip, Spread, Step
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


@dataclass(frozen=True)
class Blocks(LongSkip):
    """Skips around whole blocks, spread over a doubled or a halved map, and shuffles at the picture's end."""

    class_name: ClassVar[str] = "Blocks"
    times: int = 1

    @property
    def scale(self) -> int:
        """A doubling, and a shuffle."""
        return 4

    def chain(self, task: Task) -> Chain:
        """Two blocks of two resnets: one with a sampler, and one without."""
        steps = tuple(self._decoder() if task == "decode" else self._encoder())
        return Chain(steps, next(cut for cut, step in enumerate(steps) if step.name == "out"))

    def _decoder(self) -> Iterator[Step]:
        wide, narrow = 8 * self.times, 6 * self.times
        yield Step("in", "conv", 4, wide)
        yield Step("attention", "attention", wide, wide, kernel=1, norm=_rms("norm"), opens=True, closes=Skip(wide))
        yield from _resnet("a", wide, narrow, stays=True)
        yield from _resnet("b", narrow, narrow)
        outer = Skip(wide, spread=Spread(wide, narrow, up=2, frames=2))
        yield Step("up", "conv", narrow, narrow, resample=DOUBLE, closes=outer)
        yield Step("out", "conv", narrow, 12, norm=_rms("norm_out"), activation="silu")
        yield Step("pixels", "shuffle", 12, 3, kernel=1, resample=DOUBLE, order="cxy")

    def _encoder(self) -> Iterator[Step]:
        narrow, wide = 6 * self.times, 12 * self.times
        yield Step("pixels", "shuffle", 3, 12, kernel=1, resample=HALVE, order="cxy")
        yield Step("in", "conv", 12, narrow)
        yield from _resnet("a", narrow, wide, stays=True)
        yield from _resnet("b", wide, wide)
        outer = Skip(narrow, spread=Spread(narrow, wide, down=2, frames=2))
        yield Step("down", "conv", wide, wide, resample=HALVE, padding=Padding(0, 1), closes=outer)
        yield from _resnet("c", wide, wide, stays=True)
        yield from _resnet("d", wide, wide, joins=True)
        yield Step("out", "conv", wide, 8, norm=Norm("norm_out", 3), activation="silu")


def _rms(name: str) -> Norm:
    return Norm(name, 1, 1e-12, "rms")


def _resnet(name: str, inputs: int, outputs: int, stays: bool = False, joins: bool = False) -> Iterator[Step]:
    skip = Skip(inputs, f"{name}_wider" if inputs != outputs else None, stays=stays)
    first = Step(f"{name}_conv1", "conv", inputs, outputs, norm=_rms(f"{name}_norm1"), activation="silu")
    yield replace(first, opens=not joins, joins=joins)
    second = Step(f"{name}_conv2", "conv", outputs, outputs, norm=_rms(f"{name}_norm2"), activation="silu")
    yield replace(second, closes=skip)
