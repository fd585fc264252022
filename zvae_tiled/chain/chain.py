"""`Chain`: a decoder or an encoder as a flat list of Steps. No MLX."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from zvae_tiled.chain.step import SAME, Shape, Skip, Step

MOST_SKIPS = 2
"""The most skips that are open at once: one around a resnet, and one around the block that the resnet is part of."""


@dataclass(frozen=True)
class Chain:
    """A decoder or an encoder as a list of Steps.

    A *cut* is a place between two Steps: cut ``i`` lies before Step ``i``, the last one behind the last Step.

    Attributes:
        steps: The Steps, from the latents to the picture, or from the picture to the moments of its latents.
        middle: The cut behind the middle block, where nothing later looks at the whole map but norms.
        carries: Channels of the only cut of a Chain without Steps.
    """

    steps: tuple[Step, ...]
    middle: int = 0
    carries: int = 0

    def __post_init__(self) -> None:
        """Refuse skips that do not fit together; a band carries at most two of them.

        Raises:
            ValueError: A Step closes a skip that no Step opened, or one of other channels, or opens a third one.
        """
        opened: list[int] = []
        for step in self.steps:
            if step.joins and opened[-1:] != [step.inputs]:
                raise ValueError(f"{step.name} joins {step.inputs} channels to a skip, open are {opened}")
            if step.opens and len(opened) == MOST_SKIPS:
                raise ValueError(f"{step.name} opens a skip while {MOST_SKIPS} are open")
            opened += [step.inputs] if step.opens else []
            if step.resample != SAME and len(opened) != (1 if step.spread else 0):
                raise ValueError(f"{step.name} changes height and width while a skip is open")
            if step.closes is not None:
                _check_skip(step, step.closes, opened)
                opened.pop()
                opened += [step.closes.channels] if step.closes.stays else []
        if opened:
            raise ValueError(f"the Chain ends while a skip of {opened[-1]} channels is open")

    @cached_property
    def factors(self) -> tuple[int, ...]:
        """For each cut, how many rows its map has for each row of the latents; the same holds for columns."""
        factors = [prod(step.stride for step in self.steps)]  # latents are the smallest map: a decoder starts with 1
        for step in self.steps:
            factors.append(factors[-1] * step.factor // step.stride)
        return tuple(factors)

    @cached_property
    def open(self) -> tuple[tuple[int, ...], ...]:
        """For each cut, the channels of every skip that is open there, the outermost first."""
        cuts: list[tuple[int, ...]] = [()]
        for step in self.steps:
            skips = (*cuts[-1], step.inputs) if step.opens else cuts[-1]
            cuts.append(skips[:-1] if step.closes and not step.closes.stays else skips)
        return tuple(cuts)

    @cached_property
    def aside(self) -> tuple[int, ...]:
        """For each cut, the channels of all skips that are open there; 0 if none is."""
        return tuple(map(sum, self.open))

    @cached_property
    def channels(self) -> tuple[int, ...]:
        """For each cut, the channels of everything alive there: the map's and the open skips'."""
        last = self.steps[-1].outputs if self.steps else self.carries
        maps = (*(step.inputs for step in self.steps), last)
        return tuple(channels + skip for channels, skip in zip(maps, self.aside, strict=True))

    @cached_property
    def barriers(self) -> tuple[int, ...]:
        """The cuts whose moments must be known before a sweep can pass them."""
        return tuple(cut for cut, step in enumerate(self.steps) if step.barrier)

    @cached_property
    def attention(self) -> int | None:
        """The cut before the attention, if there is one."""
        return next((cut for cut, step in enumerate(self.steps) if step.kind == "attention"), None)

    def attends(self, start: int, stop: int) -> bool:
        """Whether the attention is between two cuts."""
        return self.attention is not None and start <= self.attention < stop

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The shape of every weight by name."""
        return {name: shape for step in self.steps for name, shape in step.shapes.items()}

    def rows_at(self, cut: int, rows: int, start: int) -> int:
        """Convert `rows` at cut `start` into rows at cut `cut`, rounded up."""
        return -(-rows * self.factors[cut] // self.factors[start])

    def reach(self, start: int) -> int:
        """Return how many rows beyond its own a tile must read at cut `start` to be right up to its edge.

        The walk goes back from the picture's edge. A convolution reads its halo beyond the edge. A row of a doubled
        map comes from half its row number.
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
        """Return the Steps as a table, to compare with a paper."""
        lines = [f"{'cut':>3}  {'scale':>5}  {'channels':>11}  {'reads':<24} step"]
        for i, step in enumerate(self.steps):
            norm = "" if step.norm is None else {"group": "norm", "rms": "RMS norm"}[step.norm.kind]
            reads = [norm, {"none": "", "silu": "SiLU", "relu": "ReLU"}[step.activation]]
            reads.append({"gated": "depthwise, gated", "scales": "depthwise, appended"}.get(step.kind, ""))
            if step.kind == "shuffle":
                reads.append("to 2x2 pixels" if step.upsample else "of 2x2 pixels")
            else:
                reads.append("nearest x2" if step.upsample else "every 2nd" if step.stride == 2 else "")
            reads.append("opens skip" if step.opens else "joins skip" if step.joins else "")
            adds = "+ shortcut" if step.shortcut else "+ spread" if step.spread else "+ skip"
            reads.append(adds if step.closes else "")
            plain = {"attention": "attention", "shuffle": "shuffle", "rms": "RMS norm", "linear": "linear attention"}
            what = plain.get(step.kind, f"{step.kernel}x{step.kernel}")
            lines.append(
                f"{i:>3}  {self.factors[i]:>5}  {step.inputs:>4} -> {step.outputs:<4}  "
                f"{', '.join(filter(None, reads)):<24} {what} {step.name}"
            )
        return "\n".join(lines)


def _check_skip(step: Step, skip: Skip, opened: list[int]) -> None:
    """Refuse a skip that is not open, or that does not fit the Step's output."""
    if opened[-1:] != [skip.channels]:
        raise ValueError(f"{step.name} closes a skip of {skip.channels} channels, open are {opened}")
    if skip.spread is not None:
        shape = (skip.channels, step.outputs, *step.resample)
        if shape != (skip.spread.inputs, skip.spread.outputs, skip.spread.up, skip.spread.down):
            raise ValueError(f"{step.name} spreads its skip to another shape than its output's")
    elif skip.shortcut is None and skip.channels != step.outputs:
        raise ValueError(f"{step.name} adds {skip.channels} channels to {step.outputs} without a shortcut")
    if skip.stays and step.resample != SAME:
        raise ValueError(f"{step.name} changes height and width while a skip stays open")
