"""Random convolutions for the harness: Steps of every kind, as their kernels would be called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from tests.kernels.cases import READS, RELUS, RMS, STEPS, reading, sized
from zvae_tiled.chain import Step
from zvae_tiled.devices.native_cpu.choice import BFLOAT16
from zvae_tiled.devices.native_cpu.memory import NativeWorkspace

FLOAT32, BFLOAT, FLOAT16 = range(3)
"""Numbers of the storage types (native/zvae.h)."""

ACTIVATIONS = ("none", "silu", "relu")
CHANNELS = (1, 3, 7, 8, 16, 17, 31, 32, 33, 65, 130)
MANY = (32, 33, 48, 64, 96, 144, 160)
"""Channels of Steps that are computed square by square."""

WIDTHS = (1, 2, 3, 4, 5, 9, 13, 14, 15, 31, 33, 69, 71, 150)
MOST = 1_500_000
"""Products of a case, at most: an emulated CPU computes ten million a second in float64."""

Row = tuple[str, dict[str, int]]


def conv(path: str, workspace: NativeWorkspace, rng: Random) -> Iterator[Row]:
    """A convolution of a whole map on some threads, and in two bands on one."""
    while True:
        inputs, outputs = (rng.choice(MANY if rng.getrandbits(1) else CHANNELS) for _ in range(2))
        step = reading(
            sized(rng.choice((*STEPS, *RELUS)), inputs, outputs, rng.choice((4, 17, 32))), rng.choice((*READS, RMS))
        )
        rows, width = rng.randint(1, 14), rng.choice(WIDTHS)
        if rows * width * step.factor**2 * (step.kernel**2 * inputs + step.skip) * outputs <= MOST:
            break
    dtype = BFLOAT if path in BFLOAT16 else rng.choice((FLOAT32, BFLOAT, FLOAT16))
    wide = step.kernel == 1 and rng.getrandbits(1)  # the attention's projections read or write float32
    squared = workspace.squared(step) is not None
    rounded = workspace.small == 2 if squared else workspace.number == 2 and bool(step.norm or step.upsample or wide)
    twice = step.upsample and not squared  # folded weights are rounded too
    numbers = {
        "seed": rng.getrandbits(32),
        "type": dtype,
        "in_type": FLOAT32 if wide else dtype,
        "out_type": FLOAT32 if wide and rng.getrandbits(1) else dtype,
        "rows": rows,
        "width": width,
        "in_height": rows * step.stride,
        "in_width": width * step.stride,
        "inputs": step.inputs,
        "outputs": step.outputs,
        "kernel": step.kernel,
        "stride": step.stride,
        "above": step.zeros.before,
        "left": step.zeros.before,
        "upsample": step.upsample,
        "squares": squared,
        "norm": 0 if step.norm is None else 1 if step.rms is None else 2,
        "activation": ACTIVATIONS.index(step.activation),
        "skip": step.closes is not None,
        "skip_relu": step.closes is not None and step.closes.relu,
        "skip_inputs": step.skip if step.shortcut else 0,
        "packed": workspace.packed_step(step),
        "packed_shortcut": workspace.packed(step.outputs, step.skip, 1) if step.shortcut else 0,
        "digits": (7 if twice else 8) if rounded else 20,
        "nan": rng.random() < 0.1,
    }
    yield f"conv {path}", numbers
    yield "call -", {"whole": 1} | band(workspace, step, 0, rows, width)
    grain = workspace.grain(step)
    cut = min(grain * rng.randint(0, rows // grain), rows)
    for top, bottom in ((0, cut), (cut, rows)):
        if top < bottom:
            yield "call -", {"whole": 0} | band(replace(workspace, threads=1), step, top, bottom - top, width)


def band(workspace: NativeWorkspace, step: Step, top: int, rows: int, width: int) -> dict[str, int]:
    """The numbers of one call."""
    tile = workspace.tile(step, rows, width)
    return {
        "top": top,
        "rows": rows,
        "tile_rows": tile.rows,
        "tile_columns": tile.columns,
        "across": tile.across,
        "scratch": tile.scratch,
        "scratches": min(workspace.threads, tile.count),
        "threads": workspace.threads,
    }
