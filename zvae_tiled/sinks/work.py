"""Writes pictures in a work folder, where they stay after a crash, and goes on with those of another process."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

from zvae_tiled.files.work_file import WorkFile
from zvae_tiled.files.work_folder import GO_ON, from_the_beginning
from zvae_tiled.sinks.file import FileSink, close_together, failed


class WorkSink(FileSink):
    """A `FileSink` whose files lie in a work folder until all are complete."""

    ADVICE = GO_ON

    def __init__(self, *options: Any, kept: Callable[[int], Path]) -> None:
        """Prepare to write pictures.

        Args:
            options: Those of `FileSink`.
            kept: Returns the file of a picture in the work folder.
        """
        super().__init__(*options)
        self._kept = kept
        self._fresh = True
        self._unwanted = 0

    def go_on(self, pictures: Sequence[Sequence[dict[str, Any]]]) -> int:
        """Go on after another process.

        Args:
            pictures: The states of each picture that was begun, the current one last.

        Returns:
            The row of the current picture that is wanted next.
        """
        *complete, states = pictures
        for picture, noted in enumerate(complete):
            self.files.append(self._complete(picture, int(noted[-1]["complete"])))
        if not states:
            return 0
        path = self._paths[len(complete)]
        try:
            self._fresh = False
            self._writer = self._opened(path)
            self._fresh = True
            first = self._writer.resume(states)
        except OSError as error:
            raise failed(path, error, from_the_beginning(self._kept(0).parent)) from error
        self._left = self._rows - first
        return first

    def _complete(self, picture: int, size: int) -> WorkFile:
        """Return the file of a picture that another process completed."""
        path, kept = self._paths[picture], self._kept(picture)
        try:
            if os.stat(kept).st_size != size:
                raise OSError(errno.EIO, f"{kept} has no longer the {size:,} bytes that were written")
            return WorkFile(path, kept)
        except OSError as error:
            raise failed(path, error, from_the_beginning(kept.parent)) from error

    def leave_out(self, rows: int) -> None:
        """Leave out the first rows that come: the file has them, and another one has not."""
        self._unwanted = rows

    def write(self, picture: int, rows: mx.array) -> None:
        """Take the next rows of a picture."""
        left_out = min(self._unwanted, rows.shape[1])
        self._unwanted -= left_out
        if left_out < rows.shape[1]:
            super().write(picture, rows[:, left_out:])

    def states(self) -> list[dict[str, Any]]:
        """Return the new state of the current picture, if there is any, and bring what it vouches for to the disk."""
        state = None if self._writer is None else self._writer.state()
        if state is None:
            return []
        try:
            self.files[-1].finish()
        except OSError as error:
            raise failed(self.files[-1].path, error, self.ADVICE) from error
        return [state]

    def completed(self) -> list[dict[str, Any]]:
        """Return the last state of the picture that was completed last. All its bytes are on disk."""
        return [{"complete": os.stat(self._kept(len(self.files) - 1)).st_size}]

    def _new_file(self, path: Path) -> WorkFile:
        file = WorkFile(path, self._kept(self._paths.index(path)))
        if self._fresh:
            file.file.truncate(0)
        return file


class WorkSinks:
    """All outputs of a decode with a work folder. Their files get their names together."""

    def __init__(self, sinks: Sequence[WorkSink]) -> None:
        """Take the outputs."""
        self._sinks = sinks

    @property
    def host_bytes(self) -> int:
        """Bytes gathered outside MLX's allocator."""
        return sum(sink.host_bytes for sink in self._sinks)

    def go_on(self, outputs: Sequence[Sequence[Sequence[dict[str, Any]]]]) -> int:
        """Go on after another process. Return the first row of the current picture that any output wants."""
        try:
            wanted = [sink.go_on(pictures) for sink, pictures in zip(self._sinks, outputs, strict=True)]
        except BaseException:  # nobody has these outputs yet who could close their files
            self.abort()
            raise
        for sink, row in zip(self._sinks, wanted, strict=True):
            sink.leave_out(row - min(wanted))
        return min(wanted)

    def states(self) -> list[list[dict[str, Any]]]:
        """Return the new states of all outputs (see `WorkSink.states`)."""
        return [sink.states() for sink in self._sinks]

    def completed(self) -> list[list[dict[str, Any]]]:
        """Return the last states of all outputs (see `WorkSink.completed`)."""
        return [sink.completed() for sink in self._sinks]

    def write(self, picture: int, rows: mx.array) -> None:
        """Take the next rows of a picture."""
        for sink in self._sinks:
            sink.write(picture, rows)

    def close(self) -> None:
        """Give all files their names, or none."""
        close_together(self._sinks)

    def abort(self) -> None:
        """Close all files. They stay in the work folder."""
        for sink in self._sinks:
            sink.abort()
