"""Steps and the Chain: a decoder or an encoder as a flat list of convolutions and what rides on them. No MLX."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

Shape = tuple[int, ...]

Activation = Literal["none", "silu"]


@dataclass(frozen=True)
class Norm:
    """A GroupNorm: its statistics are gathered over the whole map, so what it reads is a *barrier*.

    Attributes:
        name: The path of its weight and bias.
        groups: Groups of channels that are normalised together.
        eps: Added to the variance.
    """

    name: str
    groups: int
    eps: float = 1e-6


@dataclass(frozen=True)
class Step:
    """One convolution (or the attention) and all that rides on it.

    In order: the norm, the activation, nearest ×2 if it upsamples, zeros at the edges, the convolution, and the skip
    added if it closes one. Attention opens and closes its own skip.

    Attributes:
        name: The path of its parameters, as diffusers names them.
        kind: ``conv`` or ``attention``.
        inputs: Channels read.
        outputs: Channels written.
        kernel: Height and width of the convolution: 3 or 1.
        upsample: Doubles height and width before the convolution.
        stride: Rows, and columns, from one window of the convolution to the next; 2 halves height and width.
        norm: The norm before it, if any.
        activation: What is applied behind the norm.
        opens: Its input is kept aside as the source of a skip.
        closes: The skip is added to its output.
        shortcut: The path of the 1×1 convolution on the skip, where the widths differ.
        skip: Channels of the skip that is alive where this Step reads; 0 if none is.
    """

    name: str
    kind: Literal["conv", "attention"]
    inputs: int
    outputs: int
    kernel: int = 3
    upsample: bool = False
    stride: int = 1
    norm: Norm | None = None
    activation: Activation = "none"
    opens: bool = False
    closes: bool = False
    shortcut: str | None = None
    skip: int = 0

    @property
    def barrier(self) -> bool:
        """Whether something must be gathered over the whole map that it reads, before it can begin."""
        return self.norm is not None or self.kind == "attention"

    @property
    def halo(self) -> int:
        """Rows read beyond each edge of a band."""
        return self.kernel // 2

    @property
    def padding(self) -> tuple[int, int]:
        """Rows and columns of zeros before and after the map: where it is halved, after it alone, as diffusers pads."""
        return (self.halo, self.halo) if self.stride == 1 else (0, self.halo)

    @property
    def factor(self) -> int:
        """Rows it convolves a row read."""
        return 2 if self.upsample else 1

    def reads(self, count: int) -> int:
        """Return how many rows, or columns, are convolved to so many of the result; zeros at the edges included."""
        return (count - 1) * self.stride + self.kernel

    def gives(self, count: int) -> int:
        """Return how many rows, or columns, of the result so many of what is convolved come to."""
        return (count - self.kernel) // self.stride + 1

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The shape of each of its weights by name: convolutions (O, H, W, I), linear maps (O, I)."""
        layers: dict[str, Shape] = {}
        if self.kind == "attention":
            layers = {f"{self.name}.{each}": (self.outputs, self.inputs) for each in ATTENTION}
        else:
            layers[self.name] = (self.outputs, self.kernel, self.kernel, self.inputs)
        if self.shortcut is not None:
            layers[self.shortcut] = (self.outputs, 1, 1, self.skip)
        if self.norm is not None:
            layers[self.norm.name] = (self.inputs,)
        return {
            f"{name}.{part}": shape
            for name, weight in layers.items()
            for part, shape in (("weight", weight), ("bias", weight[:1]))
        }

    @property
    def parameters(self) -> int:
        """Numbers in its weights, norm and shortcut included."""
        return sum(prod(shape) for shape in self.shapes.values())


ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""The linear maps of an attention."""


@dataclass(frozen=True)
class Chain:
    """A decoder or an encoder as a list of Steps.

    A *cut* is a place between two Steps: cut ``i`` lies before Step ``i``, the last one behind the last Step.

    Attributes:
        steps: The Steps, from the latents to the picture, or from the picture to the moments of its latents.
        middle: The cut behind the middle block, where nothing later looks at the whole map but norms.
    """

    steps: tuple[Step, ...]
    middle: int = 0

    @cached_property
    def factors(self) -> tuple[int, ...]:
        """For each cut, how many rows and columns it has for one of the latents."""
        factors = [prod(step.stride for step in self.steps)]  # latents are the smallest map: a decoder starts with 1
        for step in self.steps:
            factors.append(factors[-1] * step.factor // step.stride)
        return tuple(factors)

    @cached_property
    def channels(self) -> tuple[int, ...]:
        """For each cut, the channels of what is alive there, a skip's included."""
        return (*(step.inputs + step.skip for step in self.steps), self.steps[-1].outputs)

    @cached_property
    def barriers(self) -> tuple[int, ...]:
        """The cuts whose moments must be known before a sweep can pass them."""
        return tuple(cut for cut, step in enumerate(self.steps) if step.barrier)

    @cached_property
    def attention(self) -> int | None:
        """The cut before the attention, if there is one."""
        return next((cut for cut, step in enumerate(self.steps) if step.kind == "attention"), None)

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The shape of every weight by name."""
        return {name: shape for step in self.steps for name, shape in step.shapes.items()}

    def rows_at(self, cut: int, rows: int, start: int) -> int:
        """Return how many rows of a cut so many of an earlier one come to, rounded up."""
        return -(-rows * self.factors[cut] // self.factors[start])

    def reach(self, start: int) -> int:
        """Return how many rows of a cut beyond its own a tile must read to be right up to its edge.

        Walked back from the picture's edge: a convolution reads its halo further, and of a map that was doubled
        the row that holds what is read.
        """
        low = 0
        for step in reversed(self.steps[start:]):
            low -= step.halo
            low = low // 2 if step.upsample else low
        return -low

    @property
    def parameters(self) -> int:
        """Numbers in all weights."""
        return sum(step.parameters for step in self.steps)

    def __str__(self) -> str:
        """Render the table one can check against the paper."""
        lines = [f"{'cut':>3}  {'scale':>5}  {'channels':>11}  {'reads':<24} step"]
        for i, step in enumerate(self.steps):
            reads = ["norm" if step.norm else "", "SiLU" if step.activation == "silu" else ""]
            reads.append("nearest x2" if step.upsample else "every 2nd" if step.stride == 2 else "")
            reads.append("opens skip" if step.opens else "")
            reads.append(("+ shortcut" if step.shortcut else "+ skip") if step.closes else "")
            what = f"{step.kernel}x{step.kernel}" if step.kind == "conv" else "attention"
            lines.append(
                f"{i:>3}  {self.factors[i]:>5}  {step.inputs:>4} -> {step.outputs:<4}  "
                f"{', '.join(filter(None, reads)):<24} {what} {step.name}"
            )
        return "\n".join(lines)
