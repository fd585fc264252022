"""`Chain`: a decoder or an encoder as a flat list of Steps. No MLX."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from zvae_tiled.chain.step import SAME, Shape, Step


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
        """Refuse skips that do not fit together; a band carries one skip at a time.

        Raises:
            ValueError: A Step closes a skip that no Step opened, or one of other channels, or opens a second one.
        """
        opened: int | None = None
        for step in self.steps:
            if step.opens and opened is not None:
                raise ValueError(f"{step.name} opens a skip while another one is open")
            opened = step.inputs if step.opens else opened
            if opened is not None and step.resample != SAME:
                raise ValueError(f"{step.name} changes height and width while a skip is open")
            if step.closes is not None:
                if step.closes.channels != opened:
                    raise ValueError(f"{step.name} closes a skip of {step.closes.channels} channels, open are {opened}")
                if step.closes.shortcut is None and opened != step.outputs:
                    raise ValueError(f"{step.name} adds {opened} channels to {step.outputs} without a shortcut")
                opened = None
        if opened is not None:
            raise ValueError(f"the Chain ends while a skip of {opened} channels is open")

    @cached_property
    def factors(self) -> tuple[int, ...]:
        """For each cut, how many rows its map has for each row of the latents; the same holds for columns."""
        factors = [prod(step.stride for step in self.steps)]  # latents are the smallest map: a decoder starts with 1
        for step in self.steps:
            factors.append(factors[-1] * step.factor // step.stride)
        return tuple(factors)

    @cached_property
    def aside(self) -> tuple[int, ...]:
        """For each cut, the channels of the skip that is open there; 0 if none is."""
        channels = [0]
        for step in self.steps:
            channels.append(0 if step.closes else step.inputs if step.opens else channels[-1])
        return tuple(channels)

    @cached_property
    def channels(self) -> tuple[int, ...]:
        """For each cut, the channels of everything alive there: the map's and an open skip's."""
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
            reads.append("nearest x2" if step.upsample else "every 2nd" if step.stride == 2 else "")
            reads.append("opens skip" if step.opens else "")
            reads.append(("+ shortcut" if step.shortcut else "+ skip") if step.closes else "")
            what = f"{step.kernel}x{step.kernel}" if step.kind == "conv" else "attention"
            lines.append(
                f"{i:>3}  {self.factors[i]:>5}  {step.inputs:>4} -> {step.outputs:<4}  "
                f"{', '.join(filter(None, reads)):<24} {what} {step.name}"
            )
        return "\n".join(lines)
