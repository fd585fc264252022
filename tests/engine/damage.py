"""Damage to the memory that a call has written."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from zvae_tiled.devices.native_cpu.library import Attend, Conv, Moments, NativePath, Pack
from zvae_tiled.devices.native_cpu.squares import DOUBLED, FOUR

DAMAGE = ("all zeros", "a row of zeros", "one flat value", "a flat row", "one NaN", "one other value")
LOSSES = ("means of zeros", "M2 of zeros")
"""Faults of moments only."""

_BITS = {0: np.uint32, 1: np.uint16, 2: np.uint16}
_NAN = {np.uint32: 0x7FC00000, np.uint16: 0x7FFF, np.float64: math.nan}
_OTHER = {np.uint32: 0x3F000000, np.uint16: 0x3E00, np.float64: 0.5}


def damage(fault: str, arrays: list[np.ndarray]) -> None:
    """Damage arrays of rows: float64, or the bits of floats."""
    if fault in ("one NaN", "one other value"):
        values = _NAN if "NaN" in fault else _OTHER
        arrays[0].reshape(-1)[arrays[0].size // 2] = values[arrays[0].dtype.type]
        return
    if "row" in fault:
        arrays = [array[len(array) // 2 :][:1] for array in arrays]
    if fault in LOSSES:
        arrays = [arrays[LOSSES.index(fault)]]
    for array in arrays:
        array[...] = _OTHER[array.dtype.type] if "flat" in fault else 0


def results(path: NativePath, call: Any) -> list[np.ndarray]:
    """Return the rows of memory that a native call fills."""
    if isinstance(call, Conv):
        grown = 2 if call.upsample else 1
        return [_memory(call.out, call.rows * grown, call.width * grown * call.outputs, _BITS[call.out_type])]
    if isinstance(call, Moments):
        return [_memory(at, call.rows, call.channels, np.float64) for at in (call.mean, call.m2)]
    if isinstance(call, Attend):
        sizes = ((call.total, call.channels), (call.weight, 1), (call.top, 1))
        return [_memory(at, call.queries, row, np.uint32) for at, row in sizes]
    assert isinstance(call, Pack)
    kind = np.uint32 if path.number == 4 else np.uint16
    if call.squares:
        products = (DOUBLED if call.upsample else FOUR).products ** 2
        outputs, inputs = (-(-n // to) * to for n, to in ((call.outputs, path.lanes), (call.inputs, 4 // path.small)))
        output = products * (inputs * path.small + (4 if path.small == 2 else 0))
        return [_memory(call.packed, outputs, output // path.number, kind)]
    taps = 16 if call.upsample else call.kernel**2
    outputs, inputs = (-(-n // to) * to for n, to in ((call.outputs, path.lanes), (call.inputs, path.depth)))
    return [_memory(call.packed, outputs, taps * inputs, kind)]


def _memory(at: int, rows: int, row: int, kind: Any) -> np.ndarray:
    size = rows * row * np.dtype(kind).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(at), kind).reshape(rows, row)
