"""The rows of each map that a part of a sweep reads and computes. A whole sweep computes all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from zvae_tiled.chain import Chain, Step
from zvae_tiled.planner.stage import Sweep


class Cutting(Protocol):
    """How a device cuts maps into rows. A `Workspace` says so, and so do `Kernels`."""

    @property
    def folds(self) -> bool:
        """Whether upsampling is folded into its convolution."""

    def grain(self, step: Step) -> int:
        """Return how many rows of a convolution's result belong together."""


class Rows(NamedTuple):
    """Rows of a map, from `first` to the row before `stop`."""

    first: int
    stop: int


class Asked(NamedTuple):
    """The rows that a part of a sweep is asked for.

    Attributes:
        ended: Rows of the map where the sweep ends, at least one.
        stored: Rows to store; None if it stores none.
    """

    ended: Rows
    stored: Rows | None = None


@dataclass(frozen=True)
class Region:
    """The rows of each map that a part of a sweep needs.

    Attributes:
        reads: Rows of the map at the sweep's start cut.
        computes: For each Step the rows of its result, as `convolve` counts them: before upsampling where that is
            folded. They begin at a multiple of the Step's grain, and end at one or with the map.
        given: For each cut from the start to the end the rows that arrive there.
    """

    reads: Rows
    computes: tuple[Rows, ...]
    given: tuple[Rows, ...]


def region(device: Cutting, chain: Chain, height: int, sweep: Sweep, asked: Asked) -> Region:
    """Return the region of a sweep that gives the rows asked for.

    Args:
        device: How the device cuts maps.
        chain: The Chain.
        height: Rows of the latents.
        sweep: The sweep.
        asked: The rows asked for.
    """
    wanted, computes, given = asked.ended, list[Rows](), list[Rows]()
    for cut in range(sweep.stop, sweep.start, -1):
        if cut == sweep.store and asked.stored is not None:
            wanted = _both(wanted, asked.stored)
        step, rows = chain.steps[cut - 1], height * chain.factors[cut - 1]
        computed = _computed(device, step, wanted, rows)
        tall = step.factor if device.folds or step.kind == "shuffle" else 1
        computes.append(computed)
        given.append(Rows(computed.first * tall, computed.stop * tall))
        wanted = _read(device, step, computed, rows)
    if sweep.start == sweep.store and asked.stored is not None:
        wanted = _both(wanted, asked.stored)
    return Region(wanted, tuple(reversed(computes)), (wanted, *reversed(given)))


def _computed(device: Cutting, step: Step, wanted: Rows, rows: int) -> Rows:
    """Return the rows of a Step's result, by whole grains, among which the wanted ones are.

    Those of a shuffle are counted in the smaller of its two maps.
    """
    if step.kind == "attention":
        return wanted
    if step.kind == "shuffle":
        return Rows(wanted.first // step.factor, -(-wanted.stop // step.factor))
    tall, grain = step.factor if device.folds else 1, device.grain(step)
    last = step.gives(_units(device, step, rows) + sum(step.zeros))
    first, stop = wanted.first // tall // grain * grain, -(-wanted.stop // (tall * grain)) * grain
    return Rows(first, min(stop, last))


def _read(device: Cutting, step: Step, computed: Rows, rows: int) -> Rows:
    """Return the rows that a Step's input has inside the map, of those that the computed rows are convolved from."""
    if step.kind in ("attention", "shuffle"):
        return Rows(computed.first * step.stride, computed.stop * step.stride)
    above, grown = step.zeros.before, _units(device, step, 1)
    first = computed.first * step.stride - above
    stop = first + step.reads(computed.stop - computed.first)
    return Rows(max(first // grown, 0), min(-(-stop // grown), rows))


def _units(device: Cutting, step: Step, rows: int) -> int:
    """Return the rows of the map that is convolved, for rows of the Step's input."""
    return rows * (1 if device.folds else step.factor)


def _both(rows: Rows, stored: Rows) -> Rows:
    """Return all rows from the first to the last of both. No rows may be stored."""
    return rows if stored.first == stored.stop else Rows(min(rows.first, stored.first), max(rows.stop, stored.stop))
