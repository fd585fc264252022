"""Which faults of the device the guard sees: the tables of docs/exactness.md.

    MLX_ENABLE_TF32=0 python -m benchmarks.faults

Each fault is put into a decode and an encode of a small random VAE (tests/engine/faults.py): once, and for ever. A
fault is seen where it was mended or refused; those that change no bit of the picture are not counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import mlx.core as mx

from benchmarks.machine import describe
from tests.engine.faults import KEPT, MLX, NATIVE, Outcome, Victim
from tests.kernels.native import kernels_of
from zvae_tiled.chain import Task
from zvae_tiled.kernels.mlx_rows import RowKernels
from zvae_tiled.kernels.mlx_strips import StripKernels
from zvae_tiled.kernels.native import native_status
from zvae_tiled.kernels.native_library import Attend, Conv, Moments, Pack

MOST = 12
"""Calls of a kind that are struck in each picture."""

TASKS: tuple[Task, ...] = ("decode", "encode")
COLUMNS = {
    "nothing, or half": ("does nothing", "does half"),
    "zeros, or a row of them": ("all zeros", "a row of zeros", "means of zeros", "M2 of zeros"),
    "a flat value, or row": ("one flat value", "a flat row"),
    "one NaN": ("one NaN",),
    "one other value": ("one other value", "another bias"),
    KEPT: (KEPT,),
}
NAMES = {
    Pack: "weights packed",
    Conv: "convolution",
    Attend: "attention, a block of keys",
    Moments: "moments",
    "prepare": "weights prepared",
    "activate": "rows activated",
    "conv": "convolution, as it is stored",
    "keys": "attention's keys",
    "attend": "attention",
    "moments": "moments",
}


def native() -> str:
    """Return the table of this machine's fastest native paths."""
    status = native_status()
    kernels = [
        kernels_of(status.runs[0], mx.bfloat16),
        kernels_of("avx512" if "avx512" in status.runs else "portable", mx.float32),
    ]
    return _table(kernels, {**NATIVE, "activate": (KEPT,)})


def mlx() -> str:
    """Return the table of MLX's kernels, of CPUs and of GPUs."""
    faults = {call: (*faults, KEPT) if call == "activate" else faults for call, faults in MLX.items()}
    return _table([RowKernels(mx.float32), StripKernels(mx.float32)], faults)


def _table(kernels: list[Any], faults: dict[Any, tuple[str, ...]]) -> str:
    victims = [Victim(each, task) for each in kernels for task in TASKS]
    lines = [f"| seen, of | {' | '.join(COLUMNS)} |", f"|---|{'---:|' * len(COLUMNS)}"]
    for call, possible in faults.items():
        cells = [_cell(victims, call, [fault for fault in column if fault in possible]) for column in COLUMNS.values()]
        lines.append(f"| {NAMES[call]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(victims: list[Victim], call: Any, faults: list[str]) -> str:
    found = sum(_found(victims, call, faults), Counter[Outcome]())
    changed = found.total() - found["harmless"]
    return f"{changed - found['silent']} of {changed}" if changed else ""


def _found(victims: list[Victim], call: Any, faults: list[str]) -> Iterator[Counter[Outcome]]:
    for victim in victims:
        for fault in faults:
            for times in (1, math.inf):
                yield victim.outcomes(call, fault, times, MOST)


def main() -> None:
    print(describe())
    print(native())
    print()
    print(mlx())


if __name__ == "__main__":
    main()
