"""Writes the frames of a video into picture files, one for each frame."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from zvae_tiled.sinks.base import Sink
from zvae_tiled.sinks.target import Target


class FrameFiles:
    """Picture files, one for each frame. A file appears when its frame is complete."""

    def __init__(self, targets: list[Target]) -> None:
        self._targets = targets
        self._notes: dict[str, str] = {}
        self._sink: Sink | None = None
        self._left = 0

    @property
    def gathered(self) -> int:
        """Bytes of rows that are gathered while a frame is written."""
        return self._targets[0].gathered

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return [path for target in self._targets for path in target.paths]

    def check_room(self, spilled: int, spill_folder: Path) -> None:
        """Refuse files that the disk may not hold together. The arguments are those of `Target.check_room`."""
        first, *others = self._targets
        first.check_room(spilled, spill_folder, sum(target.needed for target in others))

    @property
    def host_bytes(self) -> int:
        """Bytes held outside MLX's allocator."""
        return self.gathered

    def sink(self, notes: dict[str, str]) -> Sink:
        """Return itself, with these notes in each file."""
        self._notes = notes
        return self

    def write(self, picture: int, rows: mx.array) -> None:
        """Take the next rows of a frame."""
        if self._sink is None:
            target = self._targets[picture]
            self._sink, self._left = target.sink(self._notes), target.shape[0]
        self._sink.write(0, rows)
        self._left -= rows.shape[1]
        if not self._left:
            self._sink.close()
            self._sink = None

    def close(self) -> None:
        """Do nothing: each file got its name with its last row."""

    def abort(self) -> None:
        """Remove the unfinished file. Finished frames stay."""
        if self._sink is not None:
            self._sink.abort()
        self._sink = None
