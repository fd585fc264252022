"""`VideoReport`: predicted and measured figures of the decode of a video."""

from __future__ import annotations

from dataclasses import dataclass

from zvae_tiled.planner.video import VideoPlan
from zvae_tiled.wording import duration, size


@dataclass(frozen=True)
class VideoReport:
    """Predicted and measured figures of the decode of a video.

    Attributes:
        plan: The plan that was run.
        measured_peak: Measured peak in bytes, weights and latents included.
        seconds: Duration.
    """

    plan: VideoPlan
    measured_peak: int
    seconds: float

    def __str__(self) -> str:
        """Return a line for each figure."""
        return f"{self.plan}\nmeasured   {size(self.measured_peak)} in {duration(self.seconds)}"
