"""Costs of whole sweeps: bytes alive, flops and time, added up from the stored cut to where the sweep ends."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from zvae_tiled.planner.cost import Costs, StepCost
from zvae_tiled.planner.sampling import SamplingCosts
from zvae_tiled.planner.stage import SAMPLING, Ending, Medium, Stage, Sweep, shares_skip


@dataclass(frozen=True)
class Held:
    """What is stored between two sweeps.

    Attributes:
        cut: The cut that is stored.
        medium: Where the cut is stored. None if it was stored before the first sweep and is kept until after the last.
        keys: Where the attention's keys are stored, while they are needed.
    """

    cut: int
    medium: Medium | None
    keys: Medium | None = None


class _Costs(NamedTuple):
    """Running totals from a cut on, at one band height; and the most rows that reach each later cut at once."""

    reached: list[int]
    carried: list[int]
    prepared: list[int]
    preparing: list[int]
    working: list[int]
    seconds: list[float]
    flops: list[int]


class SweepCosts:
    """Costs of whole sweeps."""

    def __init__(self, costs: Costs, base: int, output: int, starting: int = 0, kept: int = 0) -> None:
        """Store the costs of single Steps and the bytes held during every sweep.

        Args:
            costs: The Steps' costs.
            base: Bytes held from the first sweep to the last.
            output: Bytes of the finished picture, held in the last sweep.
            starting: Extra bytes while the input is made ready, before a sweep from cut 0 begins.
            kept: Bytes on disk from the first sweep to the last.
        """
        self.costs = costs
        self._base = base
        self._output = output
        self._starting = starting
        self._kept = kept
        self._attention = costs.chain.attention
        self._sums = cache(self._sums_from)
        self._finish = cache(costs.finish)
        self._largest = cache(self._largest_from)

    def sweep(
        self,
        held: Held,
        stop: int,
        ends: Ending,
        rows: int,
        store: int | None = None,
        medium: Medium | None = None,
        anew: bool = False,
    ) -> Sweep:
        """Return the sweep with its predicted costs."""
        costs, sums, passed = self.costs, self._sums(held.cut, rows, anew), stop - held.cut
        reached = sums.reached[passed]
        last, gathered, flops, seconds = 0, 0, sums.flops[passed], sums.seconds[passed]
        attending = self._attending(held.cut, stop, rows)
        prepared, preparing = sums.prepared[passed], sums.preparing[passed]
        if ends == "moments":
            last = self._finish(stop, reached)
            seconds += costs.gathering(stop)
        elif ends != "pixels":
            last, keying = self._gathering(stop, ends, reached)
            attention = costs.step(stop, reached, reached)  # gathering keys prepares all of the attention's weights
            prepared, preparing = prepared + attention.prepared, max(preparing, attention.preparing)
            flops += keying
            computing = costs.keying(keying)
            seconds, attending = seconds + computing, attending + computing
            gathered = costs.key_bytes(stop) if ends == "keys" else 0
        else:  # picture rows in float32; for some sinks also multiplied by 255 and converted to whole numbers
            pixels = min(reached, costs.map_rows(stop)) * costs.row_bytes(stop)
            last = max(pixels // costs.size.itemsize * 9, pixels + pixels // costs.size.itemsize * 4)
            seconds += costs.writing(stop)  # also a Chain of no Steps takes its time
        released = store is not None or ends == "pixels"
        stored = self._stored(held, store, medium, rows, store == stop, released)
        stored += gathered if medium == "ram" else 0
        keys = costs.key_bytes(held.cut) if held.keys else 0
        stored += keys if held.keys == "ram" else 0
        fixed = self._base + stored + prepared + (self._output if ends == "pixels" else 0)
        peak = fixed + max(preparing, sums.carried[passed] + max(sums.working[passed], last))
        peak = max(peak, self._base + self._starting) if held.cut == 0 else peak
        io = costs.cut_bytes(held.cut) if held.medium == "disk" else 0
        io += self._fresh(held, store, medium) if store is not None and medium == "disk" else 0
        io += gathered if medium == "disk" else 0
        if held.keys == "disk" and stop > held.cut:
            io += keys * -(-costs.size.height // rows)  # every band reads all keys
        spilling = io / costs.device.disk
        seconds += spilling
        disk = self.on_disk(held, stop, store, medium)
        return Sweep(
            held.cut, stop, ends, rows, store, medium, anew, int(peak), flops, io, seconds, attending, spilling, disk
        )

    def on_disk(self, held: Held, stop: int, store: int | None, medium: Medium | None) -> int:
        """Return the bytes on disk during a sweep. What it stores is there beside what was stored before it."""
        costs = self.costs
        before = costs.cut_bytes(held.cut) if held.medium == "disk" else 0
        before += costs.key_bytes(self._attention) if held.keys == "disk" and self._attention is not None else 0
        if medium == "disk":
            before += costs.key_bytes(stop) if store is None else self._fresh(held, store, medium)
        return self._kept + before

    def _fresh(self, held: Held, store: int, medium: Medium | None) -> int:
        """Return the bytes of a cut that are stored in a sweep. A skip that is stored already stays where it is."""
        aside = self.costs.aside_bytes(store) if self._shares(held, store, medium) else 0
        return self.costs.cut_bytes(store) - aside

    def _shares(self, held: Held, store: int, medium: Medium | None) -> bool:
        return shares_skip(self.costs.chain, held.cut, store, held.medium, medium)

    def largest(self, start: int, stop: int) -> int:
        """Return the bytes of the largest map from `start` to `stop`, divided by the rows of the map at `start`."""
        return self._largest(start)[stop - start]

    def needed_flops(self, stage: Stage) -> int:
        """Return the flops of a stage if nothing is computed twice."""
        costs, stop = self.costs, len(self.costs.chain.steps) if stage.stop is None else stage.stop
        attention = costs.chain.attention
        keys = 0
        if attention is not None and stage.start <= attention < stop:
            sampling: tuple[Ending, ...] = () if costs.sampled is None else SAMPLING
            keys = sum(self._gathering(attention, ends, 1)[1] for ends in (*sampling, "keys"))
        return keys + sum(costs.flops(cut) for cut in range(stage.start, stop))

    def _gathering(self, cut: int, ends: Ending, rows: int) -> tuple[int, int]:
        """Return the bytes alive while the attention's keys are gathered, or sampled, in bands; and the flops."""
        costs = self.costs
        if costs.sampled is None:
            return costs.gather_keys(cut, rows), costs.key_flops(cut)
        sampling = SamplingCosts(costs, cut)
        return sampling.working(ends, rows), sampling.flops(ends)

    def _stored(
        self, held: Held, store: int | None, medium: Medium | None, rows: int, at_end: bool, released: bool
    ) -> int:
        """Return the bytes of stored maps in memory. `rows` is the band height at the start cut."""
        costs = self.costs
        before = costs.cut_bytes(held.cut) if held.medium == "ram" else 0
        if not released:
            return before
        after, early, tall = 0, 0, costs.device.band_rows
        shared = store is not None and self._shares(held, store, medium)
        if store is not None and medium == "ram":
            row = costs.row_bytes(store) - (costs.aside_bytes(store) // costs.map_rows(store) if shared else 0)

            def written(read: int) -> int:
                return min(costs.chain.rows_at(store, read, held.cut), costs.map_rows(store)) * row

            # If the sweep ends at the stored cut, the band that is being stored is counted as work.
            after = self._fresh(held, store, medium) - (written(rows) if at_end else 0)
            # A strip ends one row before a band does, but only if one height divides the other. Otherwise they may
            # drift apart.
            early = min(after, written(tall if tall % rows else tall - rows))
        if shared:  # the old map stays, as the skip of the new one
            return before + after
        # While a new map is stored, the old one is freed strip by strip (latents are a single strip). A strip is freed
        # when its last row is read, so memory peaks while the first strip is read or while the last one is.
        strip = before if held.cut == 0 else tall * costs.row_bytes(held.cut)
        return max(before + early, after + min(strip, before))

    def _attending(self, start: int, stop: int, rows: int) -> float:
        """Return the seconds of the attention in a sweep with bands of `rows` rows at cut `start`."""
        costs, attention = self.costs, self._attention
        if attention is None or not start <= attention < stop:
            return 0.0
        return costs.seconds(attention, costs.chain.rows_at(attention, rows, start))

    def _largest_from(self, start: int) -> list[int]:
        """Return `largest` for every cut from `start` on."""
        costs, cuts = self.costs, range(start, len(self.costs.chain.steps) + 1)
        return list(accumulate((costs.cut_bytes(cut) // costs.map_rows(start) for cut in cuts), max))

    def _sums_from(self, start: int, rows: int, anew: bool) -> _Costs:
        """Return the running totals from `start` to every later cut."""
        costs, cuts = self.costs, range(start, len(self.costs.chain.steps))
        heights = [costs.chain.rows_at(cut, rows, start) for cut in cuts]
        steps, reached = list[StepCost](), [rows]
        for cut, height in zip(cuts, heights, strict=True):
            steps.append(costs.step(cut, height, reached[-1]))
            reached.append(steps[-1].passed)
        prepares = [anew and costs.chain.steps[cut].kind == "conv" for cut in cuts]
        each = list(zip(steps, prepares, strict=True))
        seconds = [
            costs.seconds(cut, height) + costs.preparing(cut) * (-(-costs.map_rows(cut) // height) if again else 1)
            for cut, height, again in zip(cuts, heights, prepares, strict=True)
        ]
        working = (step.working_anew if again else step.working for step, again in each)
        return _Costs(
            reached=reached,
            carried=list(accumulate((step.carried for step in steps), initial=0)),
            prepared=list(accumulate((0 if again else step.prepared for step, again in each), initial=0)),
            preparing=list(accumulate((0 if again else step.preparing for step, again in each), max, initial=0)),
            working=list(accumulate(working, max, initial=rows * costs.row_bytes(start))),
            seconds=list(accumulate(seconds, initial=0.0)),
            flops=list(accumulate(map(costs.flops, cuts), initial=0)),
        )
