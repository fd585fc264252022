"""A file object of the caller: what it must be able to do, and how it is written to."""

from __future__ import annotations

import codecs
import fcntl
import gzip
import io
import os
import tempfile
from contextlib import suppress
from typing import Any, Protocol

from zvae_tiled.checks import a_kind
from zvae_tiled.errors import OutputError

NAME = "the file object"


class ByteFile(Protocol):
    """What a picture can be written into: a file that is open as binary, an `io.BytesIO`, the body of a response."""

    def write(self, data: bytes, /) -> object:
        """Take all bytes, or return how many it took."""


def check_object(file: Any, seeks: bool) -> None:
    """Refuse, before any work, a file object that no picture can be written into.

    Args:
        file: The object.
        seeks: Whether the format needs an object that can seek.

    Raises:
        OutputError: It takes text, is closed, is open for reading only, or cannot seek.
    """
    if _takes_text(file):
        raise OutputError(f"{NAME} takes text, and a picture is bytes", 'Open it as binary: open(path, "wb").')
    if getattr(file, "closed", False) is True:
        raise OutputError(f"{NAME} is closed", "Open it again.")
    if not _answers(file, "writable", default=True):
        raise OutputError(f"{NAME} is open for reading only", 'Open it for writing: open(path, "wb").')
    if seeks and not _seeks_back(file):
        advice = 'Write a PNG: format="png". Or write into an io.BytesIO first.'
        raise OutputError(f"{NAME} cannot seek, and this format needs that", advice)


def _seeks_back(file: Any) -> bool:
    """Return whether what is written after a seek lands there. A file that appends and one that packs say they seek."""
    if not _answers(file, "seekable", default=False) or "a" in str(getattr(file, "mode", "")):
        return False
    if isinstance(file, gzip.GzipFile):
        return False
    if isinstance(file, tempfile.SpooledTemporaryFile):  # to ask it for its number would move it to the disk
        return True
    with suppress(OSError, AttributeError, TypeError, ValueError):
        return not fcntl.fcntl(file.fileno(), fcntl.F_GETFL) & os.O_APPEND  # such as `>>` of a shell
    return True


def _takes_text(file: Any) -> bool:
    """Tell a text file. The body of a response may name an encoding, too, beside a binary mode."""
    if isinstance(file, io.TextIOBase | codecs.StreamReaderWriter | codecs.StreamWriter):
        return True
    return hasattr(file, "encoding") and "b" not in str(getattr(file, "mode", ""))


def _answers(file: Any, question: str, default: bool) -> bool:
    """Ask a file object whether it is writable or seekable. One that has no such method answers with the default."""
    try:
        return bool(getattr(file, question, lambda: default)())
    except Exception as error:
        raise OutputError(f"{NAME} cannot be used: {type(error).__name__}: {error}", "Open it again.") from error


class CallersFile:
    """The caller's object as a file that begins where the picture begins. All its errors are OSErrors."""

    def __init__(self, file: Any) -> None:
        """Take a checked object."""
        self._file = file
        self._start: int | None = None

    def write(self, data: Any) -> None:
        """Write all bytes."""
        left = bytes(data)  # a copy: the caller may keep it
        while left:
            taken = self._call("write", left)
            if taken is None and isinstance(self._file, io.RawIOBase):
                raise BlockingIOError(None, "it takes no more bytes now")
            if not isinstance(taken, int):  # an object of the caller's own, which took all
                return
            if not 0 < taken <= len(left):
                raise OSError(None, f"its write() returned {taken} for {len(left)} bytes")
            left = left[taken:]

    def begin(self) -> None:
        """Note where the picture begins, for a format that seeks."""
        self._start = int(self._call("tell"))

    def tell(self) -> int:
        """Return the place in the picture."""
        return int(self._call("tell")) - (self._start or 0)

    def seek(self, place: int) -> None:
        """Go to a place in the picture."""
        self._call("seek", place + (self._start or 0))

    def finish(self) -> None:
        """Go to the end, and let the object pass on what it buffers."""
        if self._start is not None:  # a TIFF ends with its header, and the caller may go on writing
            self._call("seek", 0, io.SEEK_END)
        if hasattr(self._file, "flush"):
            self._call("flush")

    def _call(self, name: str, *values: Any) -> Any:
        try:
            return getattr(self._file, name)(*values)
        except OSError:
            raise
        except Exception as error:  # of the caller's own class
            raise OSError(None, f"{a_kind(self._file)}: {type(error).__name__}: {error}") from error
