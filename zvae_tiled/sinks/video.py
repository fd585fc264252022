"""Checks where the frames of a video are written, before any work: picture files, or raw frames."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, Protocol

from zvae_tiled.checks import path_of, shown, truth, whole
from zvae_tiled.errors import OutputError
from zvae_tiled.files.atomic import check_place
from zvae_tiled.files.special import is_special
from zvae_tiled.sinks.base import Sink
from zvae_tiled.sinks.caller import check_object
from zvae_tiled.sinks.frame_files import FrameFiles
from zvae_tiled.sinks.raw_frames import RawFrames
from zvae_tiled.sinks.target import file_target

RAW = (".rgb", ".raw")
"""Endings of files of raw frames."""

_NUMBER = re.compile(r"%(0?[1-9])?d")


class FrameTarget(Protocol):
    """Where frames are written."""

    @property
    def gathered(self) -> int:
        """Bytes of rows that are gathered while a frame is written."""

    @property
    def paths(self) -> Sequence[Path]:
        """The files that are written."""

    def check_room(self, spilled: int, spill_folder: Path) -> None:
        """Refuse files that the disk may not hold. The arguments are those of `Target.check_room`."""

    def sink(self, notes: dict[str, str]) -> Sink:
        """Return the sink that writes them."""


def is_raw(path: Path) -> bool:
    """Return whether raw frames are written to a path: a file of such an ending, a pipe or a device."""
    return path.suffix.lower() in RAW or is_special(path)


def frame_paths(pattern: Path, frames: int) -> list[Path]:
    """Return the files of a pattern such as ``frames/%05d.png``, the first with number 0.

    Raises:
        OutputError: The name has not exactly one place for a number.
    """
    if len(_NUMBER.findall(pattern.name)) != 1 or "%" in _NUMBER.sub("", pattern.name):
        raise OutputError(
            f"{pattern}: the name of frames needs one place for a number, such as %05d",
            f"Write pictures as frames/%05d.png, or raw frames into a pipe to ffmpeg, or into a {' or '.join(RAW)}.",
        )
    return [pattern.with_name(pattern.name % number) for number in range(frames)]


def video_target(
    place: Any, shape: tuple[int, int, int, int], bits: int | None = None, overwrite: bool = True
) -> FrameTarget:
    """Check, before any work, where frames of shape (frames, H, W, C) are written.

    Args:
        place: A pattern, a file of raw frames, or a file object for raw frames that is open as binary.
        shape: The shape of the video.
        bits: Bits of a channel in picture files.
        overwrite: Whether existing files are replaced.

    Raises:
        OutputError: A file cannot be written, or its format cannot hold the frames.
        InputError: `overwrite` is neither true nor false.
    """
    overwrite = truth("overwrite", overwrite)
    raw = hasattr(place, "write") and not isinstance(place, str | os.PathLike)
    path = None if raw else path_of(place, "place")
    if path is None or is_raw(path):
        if bits is not None and whole(bits) != 8:
            raise OutputError(
                f"raw frames have 8 bits, bits={shown(bits)} is set", "Leave it out, or write picture files."
            )
        if path is None:
            check_object(place, seeks=False)
        else:
            check_place(path, overwrite)
        return RawFrames(path, place, prod(shape), overwrite)
    targets = [file_target(each, (1, *shape[1:]), bits, overwrite) for each in frame_paths(path, shape[0])]
    return FrameFiles(targets)
