"""Makes the plan of a video. No weights and no MLX.

What is carried from frame to frame is kept in memory where that is fastest. The largest maps are spilled first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate

from zvae_tiled.chain import Chain, Segment
from zvae_tiled.devices.base import Device
from zvae_tiled.errors import BudgetError
from zvae_tiled.planner.budget import MOST_BYTES, Budget
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.causal import CausalCosts, carried_bytes
from zvae_tiled.planner.cost import Size
from zvae_tiled.planner.ends import given_bytes, starting_bytes
from zvae_tiled.planner.leg import Leg
from zvae_tiled.planner.search import fastest, leanest
from zvae_tiled.planner.stage import Medium, Stage
from zvae_tiled.planner.sweeps import Held, SweepCosts
from zvae_tiled.planner.video import VideoPlan, source_name
from zvae_tiled.wording import at_least, budget_of, size


def make_video_plan(case: Case, budget: Budget, device: Device, weights: int, gathered: int = 0) -> VideoPlan:
    """Return the fastest plan within the budget, of those that spill the largest maps.

    Args:
        case: The decode: one picture for each frame of the latents.
        budget: The bytes it may use, weights included.
        device: The device.
        weights: Bytes of the loaded weights.
        gathered: Bytes of finished rows that are held: those of a frame, or those that its file gathers.

    Raises:
        BudgetError: No plan fits. The error names the smallest budget that works.
        ConfigError: This VAE decodes no videos.
        PlanError: The case is invalid.
    """
    case.check()
    making = _Making(case, device, weights + gathered + given_bytes(case))
    fitting = making.fitting(budget.size)
    if fitting is not None:
        return fitting
    smallest = making.plan(frozenset(making.sizes), budget.size, lean=True)
    assert smallest is not None, "some sweeps have the smallest peak"
    if smallest.predicted_peak <= budget.size:
        return smallest
    height, width = case.pixels
    needed = smallest.predicted_peak
    raise BudgetError(
        f"a video of {width}x{height} needs at least {at_least(needed)} (all between frames on disk), the budget "
        f"is {size(budget.size)} ({budget.source})",
        f'Raise the budget to "{budget_of(needed)}".',
        needed=needed,
    )


class _Making:
    """Makes plans of one case that differ in what is on disk."""

    def __init__(self, case: Case, device: Device, base: int) -> None:
        self._case, self._device, self._base = case, device, base
        self._segments = case.config.video()
        scales = accumulate((segment.factor for segment in self._segments[:-1]), int.__mul__, initial=1)
        self._maps = [(case.height * scale, case.width * scale) for scale in scales]
        self._sources = [
            rows * width * segment.first.channels[0] * case.itemsize for (rows, width), segment in self._all
        ]
        self.sizes = dict(self._sized())

    @property
    def _all(self) -> Iterator[tuple[tuple[int, int], Segment]]:
        return zip(self._maps, self._segments, strict=True)

    def _sized(self) -> Iterator[tuple[str, int]]:
        """Yield the names of what may be on disk, and the bytes of each."""
        for number, ((rows, width), segment) in enumerate(self._all):
            if number:
                yield source_name(number), self._sources[number]
            for name, (step, scale) in segment.causal.items():
                yield name, carried_bytes(step, rows * scale, width * scale, self._case.itemsize)

    def fitting(self, budget: int) -> VideoPlan | None:
        """Return a plan that fits, with some of the largest maps on disk; None if none fits.

        With few of them on disk, low bands may be all that fits. So it also tries more, and takes the fastest plan.
        """
        largest = sorted(self.sizes, key=lambda name: (-self.sizes[name], name))

        def make(count: int) -> VideoPlan | None:
            plan = self.plan(frozenset(largest[:count]), budget, lean=False)
            return plan if plan is not None and plan.predicted_peak <= budget else None

        free = self.plan(frozenset(), MOST_BYTES, lean=False)
        if free is not None and free.predicted_peak <= budget:  # nothing is faster
            return replace(free, budget=budget)
        few, many = -1, len(largest)
        found = [make(many)]
        while found[0] is not None and many - few > 1:  # more on disk takes no more memory
            middle = (few + many) // 2
            plan = make(middle)
            few, many = (middle, many) if plan is None else (few, middle)
            found.append(plan)
        more = (many + (1 << power) for power in range(len(largest).bit_length()))
        found += [make(count) for count in more if count < len(largest)]
        return min((plan for plan in found if plan is not None), key=lambda plan: plan.predicted_seconds, default=None)

    def plan(self, on_disk: frozenset[str], budget: int, lean: bool) -> VideoPlan | None:
        """Return the plan; None if its sweeps do not fit the budget."""
        first, later = list[Stage](), list[Stage]()
        for number in range(len(self._segments)):
            stages = self._stages(number, on_disk, budget, lean)
            if stages is None:
                return None
            first.append(stages[0])
            later.append(stages[1])
        peak = max(stage.peak for stage in (*first, *later))
        own = (self.sizes[name] if (name := source_name(number)) in on_disk else 0 for number in range(len(later)))
        swept = max(stage.spilled - source for stage, source in zip(later, own, strict=True))
        spilled = sum(self.sizes[name] for name in on_disk) + swept
        seconds = self._seconds(first, later, on_disk)
        return VideoPlan(self._case, budget, tuple(first), tuple(later), on_disk, peak, spilled, seconds)

    def _stages(self, number: int, on_disk: frozenset[str], budget: int, lean: bool) -> tuple[Stage, Stage] | None:
        """Return a segment's stages for the first frame and for a later one."""
        segment, (rows, width) = self._segments[number], self._maps[number]
        source: Medium = "disk" if source_name(number) in on_disk else "ram"
        base = self._base + sum(size for name, size in self.sizes.items() if self._beside(name, number, on_disk))
        stage = Stage("pixels", rows, width, base=base)
        costs = self._costs(segment.later[0], number, base)
        chosen = leanest(costs, stage, source=source) if lean else fastest(costs, budget, stage, source=source)
        if chosen is None:
            return None
        later = replace(stage, sweeps=tuple(chosen))
        if segment.first == segment.later[0]:
            return later, later
        # The first frame runs in bands of the same height, so that strips of rows begin and end where later ones do.
        (only,), costs = chosen, self._costs(segment.first, number, base)
        sweep = Leg(costs, Held(0, source), only.stop - 1, "pixels").sweep(only.rows, only.anew)
        return replace(stage, sweeps=(sweep,)), later

    def _costs(self, chain: Chain, number: int, base: int) -> SweepCosts:
        (rows, width), case = self._maps[number], self._case
        steps = CausalCosts(chain, Size(rows, width, case.itemsize), self._device)
        return SweepCosts(steps, base, 0, starting_bytes(case, rows, width) if number == 0 else 0)

    def _beside(self, name: str, number: int, on_disk: frozenset[str]) -> bool:
        """Return whether something is in memory while a segment runs, beside the map that the segment begins with."""
        waiting = [source_name(other) for other in range(1, len(self._segments))]
        if name in on_disk or name == source_name(number):
            return False
        return name not in waiting or waiting.index(name) <= number

    def _seconds(self, first: list[Stage], later: list[Stage], on_disk: frozenset[str]) -> float:
        runs = list(accumulate((len(segment.later) for segment in self._segments), int.__mul__))
        each = sum(stage.seconds * count for stage, count in zip(later, runs, strict=True))
        for count, segment in zip(runs, self._segments, strict=True):
            moved = 2 * sum(self.sizes[name] for name in segment.causal if name in on_disk)
            each += count * moved / self._device.disk
        return sum(stage.seconds for stage in first) + (self._case.batch - 1) * each
