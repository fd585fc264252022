"""`VideoPlan`: how a video is decoded, frame by frame, within a budget. No weights and no MLX."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from zvae_tiled.chain import Segment
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.stage import Stage
from zvae_tiled.wording import duration, size


@dataclass(frozen=True)
class VideoPlan:
    """How a video is decoded.

    Attributes:
        case: The decode: one picture for each frame of the latents.
        budget: Bytes it may use.
        first: The stage of each segment for the first frame.
        later: The stage of each segment for a later frame.
        on_disk: The names of what is on disk: of convolutions, what they carry; of a segment, the map it begins with.
        predicted_peak: The most bytes alive at once.
        spilled: The most bytes on disk at once.
        predicted_seconds: The time on this device.
    """

    case: Case
    budget: int
    first: tuple[Stage, ...]
    later: tuple[Stage, ...]
    on_disk: frozenset[str]
    predicted_peak: int
    spilled: int
    predicted_seconds: float

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The segments of the decoder."""
        return self.case.config.video()

    @property
    def frames(self) -> int:
        """Frames of the video."""
        return frame_count(self.segments, self.case.batch)

    def __str__(self) -> str:
        """Return a line for each figure."""
        height, width = self.case.pixels
        return "\n".join(
            [
                f"video      {self.frames} frames of {width}x{height}, {self.case.dtype} on {self.case.device}",
                f"memory     {size(self.predicted_peak)} predicted, of the budget of {size(self.budget)}",
                f"disk       {size(self.spilled)}",
                f"time       {duration(self.predicted_seconds)} if idle",
            ]
        )


def frame_count(segments: tuple[Segment, ...], latents: int) -> int:
    """Return the frames that so many frames of latents decode to: the first to one, each later one to several."""
    return 1 + (latents - 1) * prod(len(segment.later) for segment in segments)


def source_name(segment: int) -> str:
    """Return the name of the map that a segment begins with."""
    return f"segment {segment}"
