"""What one whole sweep costs: the sum of what is alive, from a stored cut to where it ends."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from zvae_tiled.planner.cost import Costs
from zvae_tiled.planner.stage import Ending, Medium, Stage, Sweep


@dataclass(frozen=True)
class Held:
    """What is stored between two sweeps.

    Attributes:
        cut: The cut that is stored.
        medium: Where; None if it was stored before the first sweep, and is kept until after the last.
        keys: Where the attention's keys are kept, while they are needed.
    """

    cut: int
    medium: Medium | None
    keys: Medium | None = None


class _Costs(NamedTuple):
    """Costs of Steps, for one band height: an entry a Step, or what the Steps from a cut on add up to."""

    carried: list[int]
    prepared: list[int]
    preparing: list[int]
    working: list[int]
    seconds: list[float]
    flops: list[int]


class SweepCosts:
    """Costs of whole sweeps."""

    def __init__(self, costs: Costs, base: int, output: int, starting: int = 0) -> None:
        """Remember the Steps' costs and what is held all along.

        Args:
            costs: The Steps' costs.
            base: Bytes held from the first sweep to the last.
            output: Bytes of the finished picture, held in the last sweep.
            starting: Bytes on top before a sweep from the latents begins.
        """
        self.costs = costs
        self._base = base
        self._output = output
        self._starting = starting
        self._sums = cache(self._sums_from)
        self._band = cache(self._band_of)
        self._finish = cache(costs.finish)
        self._largest = cache(self._largest_from)

    def sweep(
        self, held: Held, stop: int, ends: Ending, rows: int, store: int | None = None, medium: Medium | None = None
    ) -> Sweep:
        """Return the sweep with its predicted costs."""
        costs, sums, passed = self.costs, self._sums(held.cut, rows), stop - held.cut
        reached = costs.chain.rows_at(stop, rows, held.cut)
        last, gathered, flops, seconds = 0, 0, sums.flops[passed], sums.seconds[passed]
        prepared, preparing = sums.prepared[passed], sums.preparing[passed]
        if ends == "moments":
            last = self._finish(stop, reached)
            # The moments' own passes over the map, of which a recomputed one has as many.
            seconds += 4 * costs.cut_bytes(stop) / costs.device.bandwidth
        elif ends == "keys":
            last = costs.gather_keys(stop, reached)
            asked = costs.step(stop, reached)  # all of its weights are prepared for the keys too
            prepared, preparing = prepared + asked.prepared, max(preparing, asked.preparing)
            flops += costs.key_flops(stop)
            seconds += costs.key_flops(stop) / costs.device.flops
            gathered = costs.key_bytes(stop)
        else:  # rows made a picture's in float32; then times 255 and as whole numbers, for the sinks that want them so
            pixels = min(reached, costs.map_rows(stop)) * costs.row_bytes(stop)
            last = max(pixels // costs.size.itemsize * 9, pixels + pixels // costs.size.itemsize * 4)
        released = store is not None or ends == "pixels"
        stored = self._stored(held, store, medium, rows, store == stop, released)
        stored += gathered if medium == "ram" else 0
        keys = costs.key_bytes(held.cut) if held.keys else 0
        stored += keys if held.keys == "ram" else 0
        fixed = self._base + stored + prepared + (self._output if ends == "pixels" else 0)
        peak = fixed + max(preparing, sums.carried[passed] + max(sums.working[passed], last))
        peak = max(peak, self._base + self._starting) if held.cut == 0 else peak
        io = costs.cut_bytes(held.cut) if held.medium == "disk" else 0
        io += costs.cut_bytes(store) if store is not None and medium == "disk" else 0
        io += gathered if medium == "disk" else 0
        if held.keys == "disk" and stop > held.cut:
            io += keys * -(-costs.size.height // rows)  # every band asks all keys
        seconds += io / costs.device.disk
        return Sweep(held.cut, stop, ends, rows, store, medium, int(peak), flops, io, seconds)

    def largest(self, start: int, stop: int) -> int:
        """Return the most bytes of any map up to a cut, for each row of the map at the cut `start`."""
        return self._largest(start)[stop - start]

    def needed_flops(self, stage: Stage) -> int:
        """Return the flops of a stage that computes nothing twice."""
        costs, stop = self.costs, len(self.costs.chain.steps) if stage.stop is None else stage.stop
        attention = costs.chain.attention
        keys = costs.key_flops(attention) if attention is not None and stage.start <= attention < stop else 0
        return keys + sum(costs.flops(cut) for cut in range(stage.start, stop))

    def _stored(
        self, held: Held, store: int | None, medium: Medium | None, rows: int, at_end: bool, released: bool
    ) -> int:
        """Return the bytes of maps in memory; rows are a band's, at the start cut."""
        costs = self.costs
        before = costs.cut_bytes(held.cut) if held.medium == "ram" else 0
        if not released:
            return before
        after, early, tall = 0, 0, costs.device.band_rows
        if store is not None and medium == "ram":

            def written(read: int) -> int:
                return min(costs.chain.rows_at(store, read, held.cut), costs.map_rows(store)) * costs.row_bytes(store)

            # Where the sweep ends, the band that is just being stored counts as work.
            after = costs.cut_bytes(store) - (written(rows) if at_end else 0)
            # Strips end a row before bands of as many rows, of which one divides the other: else they may drift apart.
            early = min(after, written(tall if tall % rows else tall - rows))
        # One grows as the other shrinks, but a strip is freed only when its last row is read, and latents are one
        # strip: so the most there is is while the first strip is read, or the last.
        strip = before if held.cut == 0 else tall * costs.row_bytes(held.cut)
        return max(before + early, after + min(strip, before))

    def _largest_from(self, start: int) -> list[int]:
        """Return the most bytes up to every later cut."""
        costs, cuts = self.costs, range(start, len(self.costs.chain.steps) + 1)
        return list(accumulate((costs.cut_bytes(cut) // costs.map_rows(start) for cut in cuts), max))

    def _sums_from(self, start: int, rows: int) -> _Costs:
        """Return the sums up to every later cut."""
        each = self._band(rows, self.costs.chain.factors[start])
        return _Costs(
            carried=list(accumulate(each.carried[start:], initial=0)),
            prepared=list(accumulate(each.prepared[start:], initial=0)),
            preparing=list(accumulate(each.preparing[start:], max, initial=0)),
            working=list(accumulate(each.working[start:], max, initial=rows * self.costs.row_bytes(start))),
            seconds=list(accumulate(each.seconds[start:], initial=0.0)),
            flops=list(accumulate(each.flops[start:], initial=0)),
        )

    def _band_of(self, rows: int, factor: int) -> _Costs:
        """Return the costs of all Steps, for bands of so many rows of a map `factor` times as high as the latents."""
        costs = self.costs
        heights = [-(-rows * each // factor) for each in costs.chain.factors[:-1]]
        steps = [costs.step(cut, height) for cut, height in enumerate(heights)]
        return _Costs(
            [step.carried for step in steps],
            [step.prepared for step in steps],
            [step.preparing for step in steps],
            [step.working for step in steps],
            [costs.seconds(cut, height) for cut, height in enumerate(heights)],
            [costs.flops(cut) for cut in range(len(steps))],
        )
