"""One band of a Step, by the native kernels, and what torch computes beside it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np

from zvae_tiled.chain import Step
from zvae_tiled.devices.native_cpu.kernels import NativeKernels
from zvae_tiled.devices.samples import random_map, random_weights
from zvae_tiled.devices.workspace import block_rows

import mlx.core as mx  # isort: skip, after zvae_tiled: it loads the BLAS

TORCH_ROWS = 64
"""Rows that torch computes at once, before doubling. It packs its weights at each call."""


def work(kernels: NativeKernels, step: Step, rows: int, width: int) -> Callable[[], object]:
    """Return a function that computes one band of a Step."""
    dtype = kernels.dtype
    ready = kernels.prepare(step, random_weights(step, dtype))
    norm = kernels.affine(np.ones(step.inputs), np.ones(step.inputs))
    if step.kind == "attention":  # all blocks of keys are alike
        x, height = random_map((1, rows, width, step.inputs), dtype), block_rows(width)
        block = random_map((1, height, width, 2 * step.inputs), dtype)
        return lambda: kernels.attend(step, ready, x, norm, repeat(block, width // height))
    x = random_map((1, rows + 2 * step.halo, width, step.inputs), dtype)
    pieces = kernels.activate(step, x, norm if step.norm else None)
    skip = kernels.beside([(random_map((1, rows, width, step.skip), dtype), 0, rows)]) if step.closes else None
    return lambda: kernels.conv(step, ready, pieces, skip)


def order(step: Step, width: int, dtype: mx.Dtype) -> dict[str, Any]:
    """Return what torch computes: the convolutions of a Step on the map that is convolved, or its attention."""
    wide = width * step.factor
    return {
        "kind": step.kind,
        "inputs": step.inputs,
        "outputs": step.outputs,
        "kernel": step.kernel,
        "shortcut": step.skip if step.shortcut else 0,
        "rows": torch_rows(width) * step.factor,
        "width": wide,
        "dtype": "bfloat16" if dtype == mx.bfloat16 else "float32",
    }


def torch_rows(width: int) -> int:
    """Return the rows that torch computes at once, before doubling."""
    return min(TORCH_ROWS, width)


def attention_flops(step: Step, rows: int, width: int) -> int:
    """Return the products and sums of the attention for a band: projections of queries and result, and all keys."""
    queries = rows * width
    return 4 * queries * step.inputs * (step.inputs + width * width)
