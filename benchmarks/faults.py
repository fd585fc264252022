"""Counts which faults of a device the guard detects: the tables of docs/exactness.md.

    MLX_ENABLE_TF32=0 python -m benchmarks.faults

Each fault is injected into a decode and an encode of a small random VAE (tests/engine/faults.py): once into one call,
and once into that call and all later calls of its kind. A fault is detected if the decode corrects or refuses it.
Faults that change no bit of the picture are not counted.
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
from zvae_tiled.devices.mlx_cpu.kernels import RowKernels
from zvae_tiled.devices.mlx_gpu.kernels import StripKernels
from zvae_tiled.devices.native_cpu.choice import BFLOAT16, native_status
from zvae_tiled.devices.native_cpu.library import Attend, Conv, Moments, Pack
from zvae_tiled.families import Task

MOST = 12
"""The most calls of a kind that get a fault in each picture."""

TASKS: tuple[Task, ...] = ("decode", "encode")

COLUMNS = {
    "nothing done, or half": ("does nothing", "does half"),
    "zeros, or a row of them": ("all zeros", "a row of zeros", "means of zeros", "M2 of zeros", KEPT),
    "one flat value, or a flat row": ("one flat value", "a flat row"),
    "one NaN": ("one NaN",),
    "one other value": ("one other value",),
    "another bias added": ("another bias",),
}

Row = tuple[str, Any, tuple[str, ...]]
"""The label of a row, the call that gets the fault, and its possible faults."""

STORED: Row = ("a stored map", "activate", (KEPT,))
NATIVE_NAMES = {Pack: "weights packed", Conv: "convolution", Attend: "attention to a block of keys", Moments: "moments"}
MLX_NAMES = {
    "prepare": "weights prepared",
    "activate": "rows activated",
    "conv": "convolution, bias and skip added",
    "keys": "the attention's keys",
    "attend": "attention",
    "moments": "moments",
}


def native() -> str:
    """Return the table for this CPU's fastest native paths in bfloat16 and in float32."""
    runs = native_status().runs
    exact = next(path for path in runs if path not in BFLOAT16)
    kernels = [kernels_of(runs[0], mx.bfloat16), kernels_of(exact, mx.float32)]
    return _table(kernels, [*((name, call, NATIVE[call]) for call, name in NATIVE_NAMES.items()), STORED])


def mlx() -> str:
    """Return the table for MLX's kernels, those for CPUs and those for GPUs."""
    kernels = [RowKernels(mx.float32), StripKernels(mx.float32)]
    return _table(kernels, [*((name, call, MLX[call]) for call, name in MLX_NAMES.items()), STORED])


def _table(kernels: list[Any], rows: list[Row]) -> str:
    victims = [Victim(each, task) for each in kernels for task in TASKS]
    columns = {name: faults for name, faults in COLUMNS.items() if any({*faults} & {*row[2]} - {KEPT} for row in rows)}
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name, call, possible in rows:
        cells = [_cell(victims, call, [fault for fault in faults if fault in possible]) for faults in columns.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(victims: list[Victim], call: Any, faults: list[str]) -> str:
    outcomes = sum(_outcomes(victims, call, faults), Counter[Outcome]())
    wrong = outcomes.total() - outcomes["harmless"]
    return f"{wrong - outcomes['silent']} of {wrong}" if wrong else ""


def _outcomes(victims: list[Victim], call: Any, faults: list[str]) -> Iterator[Counter[Outcome]]:
    for victim in victims:
        for fault in faults:
            for times in (1, math.inf):
                yield victim.outcomes(call, fault, times, MOST)


def main() -> None:
    print(describe())
    print(f"\n{native()}\n\n{mlx()}")


if __name__ == "__main__":
    main()
