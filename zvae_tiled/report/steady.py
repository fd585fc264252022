"""`Steady`: a stream for words about a decode. A write to a terminal that is gone, or a full log, does not end it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TextIO, TypeVar

R = TypeVar("R")


class Steady:
    """A text stream, most often standard error. What it cannot write is lost, and nothing else is.

    Everything but writing is the stream's own.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Keep the stream; None for one that was closed before Python began."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Write as much as can be written."""
        if self._stream is not None:
            _tried(self._stream.write, 0, text)
        return len(text)

    def flush(self) -> None:
        """Pass on what was written, as far as that is possible."""
        if self._stream is not None:
            _tried(self._stream.flush, None)

    def isatty(self) -> bool:
        """Return whether it is a terminal that is still there."""
        return self._stream is not None and _tried(self._stream.isatty, False)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # click would write to it, past this stream, where the encoding is ASCII
            raise AttributeError(name)
        return getattr(self._stream, name)


def _tried(call: Callable[..., R], otherwise: R, *words: str) -> R:
    try:
        return call(*words)
    except (OSError, ValueError):  # ValueError: the stream is closed
        return otherwise
