"""zvae_tiled's plan alone, for pictures that would take days: predicted seconds, memory and disk. No decode."""

from __future__ import annotations

from benchmarks.case import Case, Files, Sample
from benchmarks.tools.ours import load, quality_of


def measure(case: Case, files: Files) -> Sample:
    """Plan."""
    plan = load(case, files).plan(case.height, case.width, case.budget, task="stream", quality=quality_of(case))
    return Sample(
        seconds=plan.predicted_seconds,
        predicted_peak=plan.predicted_peak,
        budget=plan.budget,
        plan=plan.digest,
        flops=plan.predicted_flops,
        disk=plan.spilled,
        note="planned",
    )
