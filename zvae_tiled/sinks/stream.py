"""Writes a picture into a file object of the caller, as its rows are finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, cast

import mlx.core as mx

from zvae_tiled.checks import nearest, shown
from zvae_tiled.errors import OutputError
from zvae_tiled.sinks.caller import NAME, ByteFile, CallersFile, check_object
from zvae_tiled.sinks.kinds import KINDS, check_kind
from zvae_tiled.sinks.texts import kept_texts
from zvae_tiled.sinks.writer import Shape, Writer, samples

FORMATS = tuple(ending[1:] for ending, kind in KINDS.items() if not kind.beside)
"""Names of the formats that are one file: the endings of their files."""


@dataclass(frozen=True)
class StreamTarget:
    """A file object that a picture can be written into.

    Attributes:
        file: The file object.
        kind: The writer of its format.
        shape: The shape of a picture.
        bits: Bits of a channel.
        texts: Texts of the caller that the picture holds.
    """

    file: ByteFile
    kind: type[Writer]
    shape: Shape
    bits: int
    texts: Mapping[str, str]

    @property
    def gathered(self) -> int:
        """Bytes of rows gathered while it is written. What the object itself keeps is not counted."""
        return self.kind.gathered(self.shape, self.bits)

    def sink(self, notes: dict[str, str]) -> StreamSink:
        """Return the sink that writes into the object, with `notes` in the picture."""
        writer = partial(self.kind, shape=self.shape, bits=self.bits, notes={**notes, **self.texts, **notes})
        return StreamSink(self, writer)


def stream_target(
    file: Any,
    pictures: tuple[int, int, int, int],
    picture_format: str | None,
    bits: int | None,
    texts: Mapping[str, str],
) -> StreamTarget:
    """Check a file object for pictures of shape (B, H, W, C), before any work.

    Raises:
        OutputError: It cannot be written to, or the format is missing, or cannot be written into it.
        MissingExtraError: The format needs Pillow.
    """
    if picture_format is None:
        raise OutputError(f"{NAME} has no ending that names a format", 'Name it: format="png".')
    if not isinstance(picture_format, str) or picture_format.lower() not in FORMATS:
        problem = f"format must be one of {', '.join(FORMATS)}, it is {shown(picture_format)}"
        raise OutputError(problem, nearest(picture_format, FORMATS))
    if pictures[0] != 1:
        raise OutputError(f"{NAME} holds one picture, these are {pictures[0]}", "Decode them one by one.")
    kind = KINDS[f".{picture_format.lower()}"]
    check_kind(NAME, kind, pictures[1:], bits)
    check_object(file, kind.seeks)
    kept = kept_texts(texts, kind.text_room, NAME) if kind.text_room else {}
    return StreamTarget(file, kind, pictures[1:], kind.bits[0] if bits is None else bits, kept)


class StreamSink:
    """Writes one picture into a file object, and never closes it."""

    def __init__(self, target: StreamTarget, writer: partial[Writer]) -> None:
        """Prepare to write.

        Args:
            target: The file object.
            writer: Makes the writer of the format for an open file.
        """
        self._file = CallersFile(target.file)
        self._new_writer = writer
        self._writer: Writer | None = None
        self._left = target.shape[0]
        self._gathered = target.gathered
        self._seeks = target.kind.seeks

    @property
    def host_bytes(self) -> int:
        """Bytes gathered outside MLX's allocator."""
        return 0 if self._writer is None else self._gathered

    def write(self, picture: int, rows: mx.array) -> None:
        """Take the next rows."""
        del picture  # there is one
        try:
            if self._writer is None:
                if self._seeks:
                    self._file.begin()
                self._writer = self._new_writer(cast(BinaryIO, self._file))
            for block in samples(rows, self._writer.bits_used):
                self._writer.write(block)
            self._left -= rows.shape[1]
            if not self._left:
                self._writer.finish()
                self._file.finish()
        except OSError as error:
            raise OutputError(
                f"{NAME} cannot be written: {error.strerror or error}",
                "What it holds is no whole picture. The latents are unchanged: decode again.",
            ) from error

    def close(self) -> None:
        """Do nothing: the picture ended with its last row, and the object is the caller's to close."""

    def abort(self) -> None:
        """Forget the picture. What was written cannot be taken back."""
        if self._writer is not None:
            self._writer.stop()
        self._writer = None
