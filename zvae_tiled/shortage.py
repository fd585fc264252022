"""Memory that runs out: whatever a lower layer raises then becomes `OutOfMemoryError`."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from zvae_tiled.errors import OutOfMemoryError

WORDS = ("malloc", "to allocate", "out of memory", "insufficient memory")
"""Words in the messages of MLX's devices that are out of memory, in small letters."""

CLOSE = "Close other programs."

THERE = "Close other programs on that machine, or name a smaller budget."
"""What to do where a worker's memory ran out."""

ADVICE = (
    "Close other programs, or name a smaller budget=. Without budget= a plan is made for the memory that is left then."
)


def is_shortage(error: Exception) -> bool:
    """Return whether an error says that memory ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = str(error).lower()
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in said for word in WORDS))


@contextmanager
def shortages(what: str, advice: str = ADVICE) -> Iterator[None]:
    """Raise an OutOfMemoryError if memory runs out in the block.

    Args:
        what: What the block does, as in "decoding".
        advice: What to do next.

    Raises:
        OutOfMemoryError: Memory ran out.
    """
    try:
        yield
    except OutOfMemoryError:
        raise
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_shortage(error):
            raise
        said = f": {error}" if str(error) else ""
        raise OutOfMemoryError(f"memory ran out while {what}{said}", advice) from error
