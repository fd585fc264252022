"""Counts the time of a decode by kind: native calls, copies, new memory, Python.

Functions of the native kernels are wrapped. Time inside of a wrapped function counts for the innermost one alone.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from zvae_tiled.devices.native_cpu import kernels as native_kernels
from zvae_tiled.devices.native_cpu.kernels import NativeKernels
from zvae_tiled.devices.native_cpu.library import Attend, Conv, Library
from zvae_tiled.engine.moments import Moments

SQUARES, OTHERS, ATTENTION = "convolutions by squares", "other convolutions", "attention"
MOMENTS, PACKING, READ_BACK = "moments", "packing of weights", "read-back"
COPIES, MEMORY, REST = "copies and joins", "new memory", "Python and the rest"
KINDS = (SQUARES, OTHERS, ATTENTION, MOMENTS, PACKING, READ_BACK, COPIES, MEMORY, REST)

CALLS = {"Attend": ATTENTION, "Moments": MOMENTS, "Pack": PACKING, "ReadBack": READ_BACK, "Copy": COPIES}
"""Kinds of the library's operations. A convolution has one of several."""


@dataclass
class Profile:
    """Wall seconds, and products and sums as they are computed, by kind.

    Attributes:
        seconds: Seconds of each kind.
        flops: Products and sums of each kind.
    """

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    flops: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _running: list[str] = field(default_factory=lambda: [REST])
    _since: float = field(default_factory=time.perf_counter)

    @contextmanager
    def counting(self, kind: str) -> Iterator[None]:
        """Count the time of the block for a kind. Convolutions inside of the attention are part of it."""
        within = ATTENTION if ATTENTION in self._running and kind in (SQUARES, OTHERS) else kind
        self._turn()
        self._running.append(within)
        try:
            yield
        finally:
            self._turn()
            self._running.pop()

    @property
    def total(self) -> float:
        """All seconds."""
        return sum(self.seconds.values())

    def _turn(self) -> None:
        now = time.perf_counter()
        self.seconds[self._running[-1]] += now - self._since
        self._since = now

    def wrapped(self, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        """Return a function whose time counts for a kind."""

        def run(*args: Any, **named: Any) -> Any:
            with self.counting(kind):
                return function(*args, **named)

        return run

    def call(self, library: Library, path: str, operation: Any) -> None:
        """Run an operation of the library in place of `Library.call`."""
        kind = (SQUARES if operation.squares else OTHERS) if isinstance(operation, Conv) else _kind_of(operation)
        with self.counting(kind):
            self.flops[self._running[-1]] += flops_of(operation)
            _CALL(library, path, operation)


_CALL = Library.call


def _kind_of(operation: Any) -> str:
    return CALLS[type(operation).__name__]


def flops_of(operation: Any) -> int:
    """Return the products and sums of an operation as they are computed; 0 if they do not count."""
    if isinstance(operation, Attend):
        return int(4 * operation.queries * operation.keys * operation.channels)
    if not isinstance(operation, Conv):
        return 0
    pixels = operation.rows * operation.width
    factor = 2 if operation.upsample else 1
    squared, direct = ((25, 4), 16) if operation.upsample else ((36, 16), operation.kernel**2)
    taps = squared[0] / squared[1] if operation.squares else direct
    each = operation.inputs * taps + operation.skip_inputs * factor**2
    return int(2 * pixels * operation.outputs * each)


@contextmanager
def profiled() -> Iterator[Profile]:
    """Wrap the native kernels, and return what is counted meanwhile."""
    profile = Profile()
    wraps = [
        (NativeKernels, "keys", ATTENTION),
        (NativeKernels, "attend", ATTENTION),
        (NativeKernels, "moments", MOMENTS),
        (Moments, "add", MOMENTS),
        (NativeKernels, "prepare", PACKING),
        (native_kernels, "kept", READ_BACK),
        (NativeKernels, "join", COPIES),
        (native_kernels, "room", MEMORY),
    ]
    with ExitStack() as stack:
        for owner, name, kind in wraps:
            stack.enter_context(patch.object(owner, name, profile.wrapped(getattr(owner, name), kind)))
        stack.enter_context(patch.object(Library, "call", lambda *args: profile.call(*args)))
        yield profile
        profile._turn()
