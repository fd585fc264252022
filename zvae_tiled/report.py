"""What a decode or an encode really used: the Meter measures, the Report tells."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import mlx.core as mx
import psutil

from zvae_tiled.plan.plan import Plan
from zvae_tiled.plan.quality import QualityPlan


@dataclass(frozen=True)
class Report:
    """Predicted beside measured.

    Attributes:
        plan: The plan that was run.
        budget: Bytes the decode was allowed.
        predicted_peak: Bytes it was to use at most.
        measured_peak: Bytes it did use: the allocator's peak, weights and latents included, and host buffers.
        others: Bytes of MLX arrays the process held before, which are not this decode's.
        footprint: Bytes by which the process's high-water mark lies above its size at the start; 0 if it was
            higher before. The system's view, with what allocators keep.
        seconds: Time it took.
        quality: ``exact``, ``tiles`` or ``stream``.
        exact: Whether the result is what a full decode gives, to rounding.
        statistics: Where the norms' moments and the attention came from.
    """

    plan: Plan | QualityPlan
    budget: int
    predicted_peak: int
    measured_peak: int
    others: int
    footprint: int
    seconds: float
    quality: str
    exact: bool
    statistics: str

    def __str__(self) -> str:
        """Render one line a figure."""
        plan = self.plan
        scale = plan.config.scale
        done = "encoded" if isinstance(plan, Plan) and plan.task == "encode" else "decoded"
        return "\n".join(
            [
                f"{done}    {plan.batch} x {plan.width * scale}x{plan.height * scale}, {plan.dtype} on {plan.device}",
                f"quality    {self.quality}, {'as all at once' if self.exact else 'not exact'}: {self.statistics}",
                f"expected   {'rounding' if isinstance(plan, Plan) else plan.expected_error}",
                f"budget     {_mib(self.budget)}",
                f"predicted  {_mib(self.predicted_peak)}",
                f"measured   {_mib(self.measured_peak)}",
                f"others     {_mib(self.others)} of other arrays were there before",
                f"seconds    {self.seconds:.1f} ({plan.predicted_flops / self.seconds / 1e9:,.0f} GFLOP/s)",
                f"plan       {plan.digest}: {plan.sweep_count} sweeps",
            ]
        )


class Meter:
    """Measures from its making to `report`."""

    def __init__(self, held: int) -> None:
        """Start.

        Args:
            held: Bytes of this decode that are there already: weights, and latents.
        """
        self._held = held
        self._before = mx.get_active_memory()
        mx.reset_peak_memory()
        self._size = psutil.Process().memory_info().rss
        self._start = time.perf_counter()
        self._early = 0

    def first_rows(self) -> None:
        """Note that rows are finished now: buffers outside MLX's allocator are there from here on."""
        self._early = max(self._early, self._grown())
        mx.reset_peak_memory()

    def report(self, plan: Plan | QualityPlan, host: int) -> Report:
        """Stop, and tell.

        Args:
            plan: The plan that was run.
            host: Bytes of buffers outside MLX's allocator, for finished rows.
        """
        return Report(
            plan=plan,
            budget=plan.budget,
            predicted_peak=plan.predicted_peak,
            measured_peak=self._held + max(self._early, self._grown() + host),
            others=max(0, self._before - self._held),
            footprint=max(0, _high_water() - self._size),
            seconds=time.perf_counter() - self._start,
            quality="exact" if isinstance(plan, Plan) else plan.request.quality,
            exact=isinstance(plan, Plan) or plan.exact,
            statistics="all of the whole picture" if isinstance(plan, Plan) else plan.statistics_source,
        )

    def _grown(self) -> int:
        return max(0, mx.get_peak_memory() - self._before)


def _high_water() -> int:
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MiB"
