"""Writes finished rows to files, one per picture."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

import mlx.core as mx

from zvae_tiled.errors import OutOfMemoryError, OutputError
from zvae_tiled.files.atomic import File, new_file, publish
from zvae_tiled.files.new_file import NewFile
from zvae_tiled.files.new_folder import NewFolder
from zvae_tiled.files.special import PouredFile
from zvae_tiled.shortage import ADVICE, is_shortage
from zvae_tiled.sinks.deep_zoom import tiles_folder
from zvae_tiled.sinks.writer import Writer, samples

_ADVICE = "The latents are unchanged. Free space, or use another file, and decode again."


class FileSink:
    """Writes each picture to a temporary file. The files get their names when all are complete.

    Attributes:
        files: The files that are not named yet.
        overwrite: Whether existing files are replaced.
    """

    ADVICE = _ADVICE
    """The advice where a file cannot be written."""

    def __init__(
        self,
        paths: tuple[Path, ...],
        rows: int,
        gathered: int,
        overwrite: bool,
        beside: bool,
        writer: Callable[..., Writer],
    ) -> None:
        """Prepare to write pictures.

        Args:
            paths: The files, one per picture.
            rows: Rows of a picture.
            gathered: Bytes that a writer gathers.
            overwrite: Whether existing files are replaced.
            beside: Whether a folder beside each file is filled, too.
            writer: Makes the writer for an open file, and for that folder.
        """
        self._paths = paths
        self._rows = rows
        self._gathered = gathered
        self.overwrite = overwrite
        self._beside = beside
        self._new_writer = writer
        self._writer: Writer | None = None
        self._left = 0
        self.files: list[File] = []

    @property
    def host_bytes(self) -> int:
        """Bytes gathered outside MLX's allocator."""
        return self._gathered if self.files else 0

    def write(self, picture: int, rows: mx.array) -> None:
        """Take the next rows of a picture."""
        path = self._paths[picture]
        try:
            if self._writer is None:
                self._writer = self._opened(path)
                self._left = self._rows
            for block in samples(rows, self._writer.bits_used):
                self._writer.write(block)
            self._left -= rows.shape[1]
            if not self._left:
                self._writer.finish()
                self._writer = None
                for file in self.files[-2 if self._beside else -1 :]:
                    file.finish()
        except OSError as error:
            raise failed(path, error, self.ADVICE) from error

    def _opened(self, path: Path) -> Writer:
        """Return the writer of a new file. A folder beside it gets its name first, because the file refers to it."""
        folder = NewFolder(tiles_folder(path)) if self._beside else None
        if folder is not None:
            self.files.append(folder)
        file = self._new_file(path)
        self.files.append(file)
        if folder is None:
            return self._new_writer(file.file)
        writer = self._new_writer(file.file, folder=folder.part)
        folder.holds = writer.holds
        return writer

    def _new_file(self, path: Path) -> NewFile | PouredFile:
        return new_file(path)

    def close(self) -> None:
        """Give all files their names, or none."""
        close_together([self])

    def abort(self) -> None:
        """Remove the files written so far."""
        if self._writer is not None:
            self._writer.stop()
        self._writer = None
        for file in self.files:
            file.discard()


def close_together(sinks: Sequence[FileSink]) -> None:
    """Give all files of several sinks their names, or none.

    Raises:
        OutputError: A file cannot be named.
    """
    files = [file for sink in sinks for file in sink.files]
    try:
        publish(files, all(sink.overwrite for sink in sinks))
    except OSError as error:
        advice = sinks[0].ADVICE if error.errno in (errno.ENOSPC, errno.EDQUOT) else _ADVICE
        raise failed(Path(error.filename or files[0].path), error, advice) from error
    for sink in sinks:
        sink.files.clear()


def failed(path: Path, error: OSError, advice: str = _ADVICE) -> OutputError | OutOfMemoryError:
    """Turn the operating system's error into one that says what to do."""
    if is_shortage(error):
        return OutOfMemoryError(f"memory ran out while writing {path}", ADVICE)
    return OutputError(f"{path} cannot be written: {error.strerror or error}", advice)
