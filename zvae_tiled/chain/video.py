"""`Segment`: a part of a video's decoder, up to where each frame becomes two. No MLX.

A convolution that is causal in time reads its own frame and the two before it: three kernels, one for each frame. All
three are applied to a frame while it passes by. What the first gives is its result; what the others give is carried,
and added to the results of the next two frames, row by row. So no frame's rows are read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from zvae_tiled.chain.chain import Chain
from zvae_tiled.chain.step import Skip, Step

HALVES = 2
"""Frames that one frame becomes."""


@dataclass(frozen=True)
class Segment:
    """A part of a decoder that runs frame by frame.

    Attributes:
        first: Its Chain for the first frame of the latents, which is never doubled.
        later: Its Chains for a later frame: one, or two where a frame becomes two, which begin with different Steps.
    """

    first: Chain
    later: tuple[Chain, ...]

    @cached_property
    def causal(self) -> dict[str, tuple[Step, int]]:
        """The Steps that carry something from frame to frame, by name, and the scale of their results."""
        return {
            step.name: (step, chain.factors[cut + 1])
            for chain in (self.first, *self.later)
            for cut, step in enumerate(chain.steps)
            if step.frames > 1
        }

    @property
    def factor(self) -> int:
        """How many rows its result has for each row of its input."""
        return self.first.factors[-1]


def doubling(name: str, width: int) -> tuple[Step, ...]:
    """Return the two Steps that make the first and the second of two frames."""
    return tuple(Step(f"{name}.{half}", "conv", width, width, kernel=1, frames=3) for half in range(HALVES))


def segments(steps: Iterable[Step], doubled: Mapping[str, tuple[Step, ...]]) -> tuple[Segment, ...]:
    """Cut a decoder where frames are doubled.

    Args:
        steps: Its Steps.
        doubled: The Steps that make two frames of one, by the name of the Step behind them.
    """
    parts: list[tuple[tuple[Step, ...], list[Step]]] = [((), [])]
    for step in steps:
        if step.name in doubled:
            parts.append((doubled[step.name], []))
        parts[-1][1].append(step)
    found = []
    for begins, own in parts:
        first = Chain(tuple(own))
        found.append(Segment(first, tuple(Chain((begin, *own)) for begin in begins) or (first,)))
    return tuple(found)


def earlier(step: Step) -> tuple[Step, Step]:
    """Return the convolutions of the frame before, and of the one before that, as Steps of their own.

    What the frame before that one gave is added to the first of them as a skip.
    """
    bare = replace(step, opens=False, joins=False, closes=None, frames=1)
    added = Skip(step.outputs)
    return replace(bare, name=f"{step.name}.before1", closes=added), replace(bare, name=f"{step.name}.before2")
