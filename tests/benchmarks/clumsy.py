"""A benchmark's child process whose engine keeps a copy of each convolved band. The memory suite must report it."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from benchmarks.child import main
from zvae_tiled.engine.guard import Guard

convolved = Guard.conv


def keeping(self: Guard[Any], pieces: Any, skip: Any) -> Any:
    """Convolve, and keep a copy that is never freed."""
    rows = convolved(self, pieces, skip)
    self.copy = rows + 0  # type: ignore[attr-defined]
    mx.eval(self.copy)  # type: ignore[attr-defined]
    return rows


Guard.conv = keeping  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
