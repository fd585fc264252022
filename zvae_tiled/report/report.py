"""Measures what a decode or an encode used (`Meter`), and reports it beside the prediction (`Report`)."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field, fields, replace
from html import escape
from pathlib import Path
from typing import Any

import psutil

from zvae_tiled.devices.counted import active_memory, peak_memory, reset_peak
from zvae_tiled.engine.sample_error import SampleError
from zvae_tiled.planner.plan import Plan
from zvae_tiled.report.chart import line_chart
from zvae_tiled.report.progress import Listener, Progress
from zvae_tiled.wording import SAME, duration, size

_MARKS = Path("/proc/self/status")
"""Where Linux keeps a process's high-water mark. It is not reset before a decode, because others may read it too."""

_OTHERWISE = ("plan", "sampled", "timeline")
"""Attributes that `Report.to_dict` does not return as they are."""

POINTS = 1000
"""A timeline of twice this many points is halved, because its chart has fewer pixels."""


@dataclass(frozen=True)
class Report:
    """Predicted and measured figures of one decode or encode.

    Attributes:
        plan: The plan that was run.
        budget: The budget in bytes.
        predicted_peak: Predicted peak in bytes.
        predicted_seconds: Predicted duration on an idle device.
        measured_peak: Measured peak in bytes: of MLX's allocator, of native kernels and of host buffers. Weights and
            latents are included.
        others: Bytes of other MLX arrays that the process held before the decode.
        footprint: Growth of the process in bytes, as the system counts it: its high-water mark minus its size at the
            start, or 0 if the process was larger before. Weights and latents are in its size at the start.
        seconds: Duration.
        quality: ``exact``, ``sampled``, ``tiles``, ``stream`` or ``preview``.
        exact: Whether the result equals a full decode, except for rounding.
        statistics: Source of the norms' moments and of the attention.
        expected_error: How far the result is from that of a full decode.
        sampled: The measured error of the attention to sampled keys, for each picture. Empty if all keys were kept.
        went_on: Where another process had stopped, in words, if there is a work folder. Empty: it began here.
        before: Share of the work that was done then. ``seconds`` are those of the rest.
        timeline: Points of seconds since the start, and the most bytes in use since the previous point.
    """

    plan: Plan
    budget: int
    predicted_peak: int
    predicted_seconds: float
    measured_peak: int
    others: int
    footprint: int
    seconds: float
    quality: str
    exact: bool
    statistics: str
    expected_error: str
    sampled: tuple[SampleError, ...] = ()
    went_on: str = ""
    before: float = 0.0
    timeline: tuple[tuple[float, int], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        """Return one line per figure."""
        plan, case, (height, width) = self.plan, self.plan.case, self.plan.case.pixels
        task = "encode" if case.task == "encode" else "decode"
        look = f"exact: {SAME[task]}" if self.exact else f"not exact: {self.statistics}"
        return "\n".join(
            [
                f"{task}d    {case.batch} x {width}x{height}, {case.dtype} on {case.device}",
                f"quality    {self.quality}, {look}" if self.quality != "exact" else f"quality    {look}",
                f"expected   {self.expected_error}",
                *self._sampled_lines(),
                self.memory_line(),
                f"others     {size(self.others)} in other MLX arrays before the {task}",
                *([f"went on    {self.went_on}; {self.before:.0%} was done before"] if self.went_on else []),
                self.time_line(),
                f"plan       {plan.digest}: {plan.sweep_count} sweeps",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, which `json.dumps` takes as they are.

        Returns:
            A dict of these keys. All sizes are in bytes, all times in seconds.

            - ``task``: ``decode`` or ``encode``. ``pictures``, ``height``, ``width``: how many, and their sides in
              pixels. ``dtype``, ``device``: the VAE's type, and the device with its kernels.
            - ``budget``, ``predicted_peak``, ``measured_peak``, ``others``, ``footprint``, ``predicted_seconds``,
              ``seconds``, ``quality``, ``exact``, ``statistics``, ``expected_error``, ``went_on``,
              ``before``: the attributes of these names.
            - ``sampled``: a dict for each picture: the error of the attention to sampled keys, and ``expected_psnr``.
            - ``plan``: the plan's digest. ``sweeps``: how many it has. ``flops``: operations of the whole batch.
            - ``timeline``: a list of pairs, the seconds since the start and the most bytes since the pair before.
        """
        case, (height, width) = self.plan.case, self.plan.case.pixels
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _OTHERWISE}
        return {
            "task": case.task,
            "pictures": case.batch,
            "height": height,
            "width": width,
            "dtype": case.dtype,
            "device": case.device,
            **own,
            "sampled": [each.to_dict() for each in self.sampled],
            "plan": self.plan.digest,
            "sweeps": self.plan.sweep_count,
            "flops": self.plan.predicted_flops,
            "timeline": [[seconds, level] for seconds, level in self.timeline],
        }

    def _sampled_lines(self) -> list[str]:
        """Return the lines of the worst picture's error of sampled keys."""
        if not self.sampled:
            return []
        first, second = str(_worst(self.sampled)).splitlines()
        return [f"sampled    {first}", f"           {second}"]

    def memory_line(self) -> str:
        """Return the line of predicted and measured memory."""
        used = f"{size(self.predicted_peak)} predicted, {size(self.measured_peak)} measured"
        return f"memory     {used}, of the budget of {size(self.budget)}"

    def time_line(self) -> str:
        """Return the line of predicted and measured time."""
        rest = 1 - self.before
        speed = rest * self.plan.predicted_flops / self.seconds / 1e9
        times = f"{duration(rest * self.predicted_seconds)} predicted if idle, {duration(self.seconds)} measured"
        return f"time       {times} ({speed:,.0f} GFLOP/s)"

    def _repr_html_(self) -> str:
        """Return HTML for a notebook: the text, and memory over time."""
        return f"<pre>{escape(str(self))}</pre>\n{self.chart()}"

    def chart(self) -> str:
        """Return a chart of memory over time, with prediction and budget, as SVG."""
        measured = [(seconds, level / 1e6) for seconds, level in self.timeline]
        across = (0.0, measured[-1][0] if measured else self.seconds)
        lines = {"measured": measured or [(0.0, self.measured_peak / 1e6)]}
        for name, level in (("predicted peak", self.predicted_peak), ("budget", self.budget)):
            if level <= 4 * self.measured_peak:  # a much higher line would flatten the others
                lines[f"{name}, {size(level)}"] = [(x, level / 1e6) for x in across]
        doing = "encoding" if self.plan.case.task == "encode" else "decoding"
        return line_chart(f"Memory while {doing}, weights included", "seconds", "MB", lines)


class Meter:
    """Measures from its construction to `report`."""

    def __init__(self, held: int) -> None:
        """Start measuring.

        Args:
            held: Bytes of this decode that are already allocated: weights, and latents.
        """
        self._held = held
        self._host = 0
        self._peak = 0
        self._line: list[tuple[float, int]] = []
        self._own = 0  # bytes of the decode, beside `held`, while others run
        self._others = max(0, active_memory() - held)
        self.resume()
        self._size = psutil.Process().memory_info().rss
        self._start = time.perf_counter()

    def watching(self, listener: Listener | None) -> Listener:
        """Return a listener that records the memory at each progress, and passes both on to `listener`."""

        def record(progress: Progress) -> None:
            now = self._note()
            if listener is not None:
                listener(replace(progress, memory=now, peak=self._peak))

        return record

    def host(self, held: int) -> None:
        """Record that from now on `held` bytes are held outside MLX's allocator."""
        self._note()
        self._host = held

    def pause(self, passed_on: int) -> None:
        """Stop measuring until `resume`. From now on `passed_on` bytes belong to the caller."""
        self._note()
        self._own = active_memory() - self._before - passed_on

    def resume(self) -> None:
        """Go on. What the caller has allocated or freed meanwhile is not counted."""
        self._before = active_memory() - self._own
        reset_peak()

    def now(self) -> int:
        """Return the bytes in use now."""
        return self._note()

    def measured(self) -> tuple[int, float]:
        """Return the most bytes in use so far, and the seconds since the start."""
        self._note()
        return self._peak, time.perf_counter() - self._start

    def report(self, plan: Plan, sampled: tuple[SampleError, ...] = ()) -> Report:
        """Stop measuring, and return the report for the plan that was run, and the errors of sampled keys."""
        self._note()
        return Report(
            plan=plan,
            budget=plan.budget,
            predicted_peak=plan.predicted_peak,
            predicted_seconds=plan.predicted_seconds,
            measured_peak=self._peak,
            others=self._others,
            footprint=max(0, _high_water() - self._size),
            seconds=time.perf_counter() - self._start,
            quality=plan.quality.name,
            exact=plan.exact,
            statistics=plan.statistics,
            expected_error=_worst(sampled).expected if sampled else plan.expected_error,
            sampled=sampled,
            timeline=tuple(self._line),
        )

    def _note(self) -> int:
        """Record the most bytes in use since the last call. Return the bytes in use now."""
        highest = peak_memory() - self._before
        reset_peak()
        point = self._held + self._host + max(0, highest)
        self._peak = max(self._peak, point)
        self._line.append((time.perf_counter() - self._start, point))
        if len(self._line) >= 2 * POINTS:
            self._line = _halved(self._line)
        return self._held + self._host + max(0, active_memory() - self._before)


def _worst(sampled: tuple[SampleError, ...]) -> SampleError:
    return max(sampled, key=lambda error: error.rms)


def _halved(line: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return the higher of each two neighbours, because a chart of memory must not lose its peaks."""
    return [max(pair, key=lambda point: point[1]) for pair in zip(line[::2], line[1::2], strict=True)]


def _high_water() -> int:
    if _MARKS.exists():  # not getrusage, whose mark a process inherits from its parent through exec
        line = next(line for line in _MARKS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
