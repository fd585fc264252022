"""Writes the frames of a video one after the other as raw pixels: 8 bits, row by row, without a header."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx

from zvae_tiled.files.atomic import new_file, publish
from zvae_tiled.files.special import is_special, opened_special
from zvae_tiled.sinks.base import Sink
from zvae_tiled.sinks.caller import NAME, CallersFile
from zvae_tiled.sinks.file import failed
from zvae_tiled.sinks.room import check_files_fit
from zvae_tiled.sinks.writer import samples


class RawFrames:
    """Raw frames in a file, which appears when it is complete; or in a pipe or a file object, as rows are finished."""

    gathered = 0
    host_bytes = 0

    def __init__(self, path: Path | None, place: Any, size: int, overwrite: bool) -> None:
        self._path = path
        self._special = path is not None and is_special(path)  # now, when it is checked
        self._place = place
        self._size = size
        self._overwrite = overwrite
        self._file: CallersFile | None = None
        self._new: Any = None

    @property
    def paths(self) -> list[Path]:
        """The file, if it has a name."""
        return [] if self._path is None else [self._path]

    def check_room(self, spilled: int, spill_folder: Path) -> None:
        """Refuse a file that the disk may not hold. The arguments are those of `Target.check_room`."""
        if self._path is not None and not self._special:
            check_files_fit(self._path, self._size, spilled, spill_folder)

    def sink(self, notes: dict[str, str]) -> Sink:
        """Return itself: raw frames have no notes."""
        del notes
        return self

    def write(self, picture: int, rows: mx.array) -> None:
        """Write the next rows."""
        del picture
        with self._told():
            if self._file is None:
                self._file = CallersFile(self._opened())
            for block in samples(rows, 8):
                self._file.write(block.data.cast("B"))

    def _opened(self) -> Any:
        if self._path is None:
            return self._place
        if self._special:  # its reader takes rows at once
            self._new = opened_special(self._path, buffering=0)
            return self._new
        self._new = new_file(self._path)
        return self._new.file

    def close(self) -> None:
        """Give the file its name."""
        with self._told():
            if self._file is not None:
                self._file.finish()
            if self._new is not None and hasattr(self._new, "give_name"):
                self._new.finish()
                publish([self._new], self._overwrite)
            elif self._new is not None:
                self._new.close()

    def abort(self) -> None:
        """Remove the unfinished file. What was written into a pipe cannot be taken back."""
        if self._new is not None:
            (self._new.discard if hasattr(self._new, "discard") else self._new.close)()

    @contextmanager
    def _told(self) -> Iterator[None]:
        name = Path(NAME) if self._path is None else self._path
        try:
            yield
        except BrokenPipeError as error:
            raise failed(name, error, "The program that reads the frames ended too early.") from error
        except OSError as error:
            raise failed(name, error) from error
