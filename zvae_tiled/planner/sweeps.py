"""Costs of the Steps of a sweep: bytes alive, flops and time, added up from the stored cut on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from zvae_tiled.planner.cost import Costs
from zvae_tiled.planner.sampling import SamplingCosts
from zvae_tiled.planner.stage import SAMPLING, Ending, Medium, Stage


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


class Sums(NamedTuple):
    """Running totals from a cut on, at one band height; and the most rows that reach each later cut at once."""

    reached: list[int]
    carried: list[int]
    prepared: list[int]
    preparing: list[int]
    working: list[int]
    seconds: list[float]
    flops: list[int]


class SweepCosts:
    """What the sweeps of a stage have in common, and running totals of the Steps' costs."""

    def __init__(
        self,
        costs: Costs,
        base: int,
        output: int,
        starting: int = 0,
        kept: int = 0,
        frees: bool = True,
        saved: bool = False,
    ) -> None:
        """Store the costs of single Steps and the bytes held during every sweep.

        Args:
            costs: The Steps' costs.
            base: Bytes held from the first sweep to the last.
            output: Bytes of the finished picture, held in the last sweep.
            starting: Extra bytes while the input is made ready, before a sweep from cut 0 begins.
            kept: Bytes on disk from the first sweep to the last.
            frees: Whether a map is freed while its last sweep reads it.
            saved: Whether maps on disk are files of a work folder, which has each until the next one is whole.
        """
        self.costs = costs
        self.base = base
        self.output = output
        self.starting = starting
        self.kept = kept
        self.frees = frees
        self.frees_disk = frees and not saved
        self.sums = cache(self._sums_from)
        self.finish = cache(costs.finish)
        self.gathering_keys = cache(self._gathering)
        self._largest = cache(self._largest_from)

    def largest(self, start: int, stop: int) -> int:
        """Return the bytes of the largest map from `start` to `stop`, divided by the rows of the map at `start`."""
        return self._largest(start)[stop - start]

    def tallest(self, start: int, stop: int) -> int:
        """Return the most rows of a band from `start` to `stop` whose buffers the device makes. One is always tried.

        A band's largest buffer is at most twice its largest map (Winograd's is 64/36 of it).
        """
        return max(1, self.costs.device.max_buffer // (2 * self.largest(start, stop)))

    def needed_flops(self, stage: Stage) -> int:
        """Return the flops of a stage if nothing is computed twice."""
        costs, stop = self.costs, len(self.costs.chain.steps) if stage.stop is None else stage.stop
        attention = costs.chain.attention
        keys = 0
        if attention is not None and costs.chain.attends(stage.start, stop):
            sampling: tuple[Ending, ...] = () if costs.sampled is None else SAMPLING
            keys = sum(self.gathering_keys(attention, ends, 1)[1] for ends in (*sampling, "keys"))
        return keys + sum(costs.flops(cut) for cut in range(stage.start, stop))

    def _gathering(self, cut: int, ends: Ending, rows: int) -> tuple[int, int]:
        """Return the bytes alive while the attention's keys are gathered, or sampled, in bands; and the flops."""
        costs = self.costs
        if costs.sampled is None:
            return costs.gather_keys(cut, rows), costs.key_flops(cut)
        sampling = SamplingCosts(costs, cut)
        return sampling.working(ends, rows), sampling.flops(ends)

    def _largest_from(self, start: int) -> list[int]:
        """Return `largest` for every cut from `start` on."""
        costs, cuts = self.costs, range(start, len(self.costs.chain.steps) + 1)
        return list(accumulate((costs.cut_bytes(cut) // costs.map_rows(start) for cut in cuts), max))

    def _sums_from(self, start: int, rows: int, anew: bool) -> Sums:
        """Return the running totals from `start` to every later cut. One loop, for a search makes thousands of them."""
        costs, chain = self.costs, self.costs.chain
        reached, carried, prepared, preparing = [rows], [0], [0], [0]
        working, seconds, flops = [rows * costs.row_bytes(start)], [0.0], [0]
        for cut in range(start, len(chain.steps)):
            height = chain.rows_at(cut, rows, start)
            step = costs.step(cut, height, reached[-1])
            again = anew and chain.steps[cut].kind == "conv"
            times = -(-costs.map_rows(cut) // height) if again else 1
            reached.append(step.passed)
            carried.append(carried[-1] + step.carried)
            prepared.append(prepared[-1] if again else prepared[-1] + step.prepared)
            preparing.append(preparing[-1] if again else max(preparing[-1], step.preparing))
            working.append(max(working[-1], step.working_anew if again else step.working))
            seconds.append(seconds[-1] + (costs.seconds(cut, height) + costs.preparing(cut) * times))
            flops.append(flops[-1] + costs.flops(cut))
        return Sums(reached, carried, prepared, preparing, working, seconds, flops)
