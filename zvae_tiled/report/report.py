"""What a decode or an encode really used: the Meter measures, the Report tells."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path

import mlx.core as mx
import psutil

from zvae_tiled.planner.plan import Plan
from zvae_tiled.report.chart import line_chart
from zvae_tiled.report.progress import Listener, Progress
from zvae_tiled.wording import size

_MARKS = Path("/proc/self/status")
"""Where Linux keeps a process's high-water mark. It could be wiped before a decode, but it is not ours alone."""

POINTS = 1000
"""Of a report's timeline, at most: two a pixel of its chart."""


@dataclass(frozen=True)
class Report:
    """Predicted beside measured.

    Attributes:
        plan: The plan that was run.
        budget: Bytes the decode was allowed.
        predicted_peak: Bytes it was to use at most.
        measured_peak: Bytes it did use: the allocator's peak, weights and latents included, and host buffers.
        others: Bytes of MLX arrays the process held before, which are not this decode's.
        footprint: Bytes by which the process's high-water mark lies above its size at the start; 0 if the process
            was larger before. The system's view; weights and latents are not in it, they are there at the start.
        seconds: Time it took.
        quality: ``exact``, ``tiles`` or ``stream``.
        exact: Whether the result is what a full decode gives, to rounding.
        statistics: Where the norms' moments and the attention came from.
        timeline: Seconds since the start, and the most bytes in use since the point before.
    """

    plan: Plan
    budget: int
    predicted_peak: int
    measured_peak: int
    others: int
    footprint: int
    seconds: float
    quality: str
    exact: bool
    statistics: str
    timeline: tuple[tuple[float, int], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        """Render one line a figure."""
        plan, case, (height, width) = self.plan, self.plan.case, self.plan.case.pixels
        done = "encoded" if case.task == "encode" else "decoded"
        look = "exact: same pixels as a full decode" if self.exact else f"not exact: {self.statistics}"
        return "\n".join(
            [
                f"{done}    {case.batch} x {width}x{height}, {case.dtype} on {case.device}",
                f"quality    {self.quality}, {look}" if self.quality != "exact" else f"quality    {look}",
                f"expected   {plan.expected_error}",
                f"budget     {size(self.budget)}",
                f"predicted  {size(self.predicted_peak)}",
                f"measured   {size(self.measured_peak)}",
                f"others     {size(self.others)} of other arrays were there before",
                f"seconds    {self.seconds:.1f} ({plan.predicted_flops / self.seconds / 1e9:,.0f} GFLOP/s)",
                f"plan       {plan.digest}: {plan.sweep_count} sweeps",
            ]
        )

    def _repr_html_(self) -> str:
        """Render it for a notebook, with memory over time."""
        return f"<pre>{escape(str(self))}</pre>\n{self.chart()}"

    def chart(self) -> str:
        """Return memory over time, beside prediction and budget, as SVG."""
        measured = [(seconds, level / 1e6) for seconds, level in self.timeline]
        across = (0.0, measured[-1][0] if measured else self.seconds)
        lines = {"measured": measured or [(0.0, self.measured_peak / 1e6)]}
        for name, level in (("predicted peak", self.predicted_peak), ("budget", self.budget)):
            if level <= 4 * self.measured_peak:  # a line far above would flatten the others
                lines[f"{name}, {size(level)}"] = [(x, level / 1e6) for x in across]
        return line_chart("Memory while decoding, weights included", "seconds", "MB", lines)


class Meter:
    """Measures from its making to `report`."""

    def __init__(self, held: int) -> None:
        """Start.

        Args:
            held: Bytes of this decode that are there already: weights, and latents.
        """
        self._held = held
        self._host = 0
        self._peak = 0
        self._line: list[tuple[float, int]] = []
        self._before = self._floor = mx.get_active_memory()
        mx.reset_peak_memory()
        self._size = psutil.Process().memory_info().rss
        self._start = time.perf_counter()

    def watching(self, listener: Listener | None) -> Listener:
        """Return a listener that notes the memory at each step of progress, and tells another one."""

        def heard(progress: Progress) -> None:
            now = self._note()
            if listener is not None:
                listener(replace(progress, memory=now, peak=self._peak))

        return heard

    def host(self, held: int) -> None:
        """Note that from here on so many bytes are held outside MLX's allocator."""
        self._note()
        self._host = held

    def report(self, plan: Plan) -> Report:
        """Stop, and tell about the plan that was run."""
        self._note()
        return Report(
            plan=plan,
            budget=plan.budget,
            predicted_peak=plan.predicted_peak,
            measured_peak=self._peak,
            others=max(0, self._before - self._held),
            footprint=max(0, _high_water() - self._size),
            seconds=time.perf_counter() - self._start,
            quality=plan.quality.name,
            exact=plan.exact,
            statistics=plan.statistics,
            timeline=tuple(self._line),
        )

    def _note(self) -> int:
        """Note the most that was in use since the last note; return what is in use now."""
        # The allocator counts a peak at its next allocation: until then it is what was there at the start.
        highest = max(mx.get_peak_memory(), self._floor) - self._before
        self._floor = mx.get_active_memory()
        mx.reset_peak_memory()
        point = self._held + self._host + max(0, highest)
        self._peak = max(self._peak, point)
        self._line.append((time.perf_counter() - self._start, point))
        if len(self._line) >= 2 * POINTS:
            self._line = _halved(self._line)
        return self._held + self._host + max(0, self._floor - self._before)


def _halved(line: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Of two neighbours leave the higher: a chart of memory must not lose its peaks."""
    return [max(pair, key=lambda point: point[1]) for pair in zip(line[::2], line[1::2], strict=True)]


def _high_water() -> int:
    if _MARKS.exists():  # not getrusage: through exec a process inherits its parent's mark there
        line = next(line for line in _MARKS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
