"""Tensors in memory, of any library, read in pieces as those of a file are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from math import prod
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled.checks import a_kind, shown
from zvae_tiled.errors import WeightsError
from zvae_tiled.inputs.arrays import kind_of, reading, to_mlx
from zvae_tiled.weights.complaints import Complaints
from zvae_tiled.weights.header import DTYPE_BITS, TensorInfo

_TYPES = {"float64": "F32", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "uint32": "U32"}
"""The safetensors name of each type that is read. float64 is rounded to float32 first, as in a file."""

ADVICE = "Pass a state dict: names of tensors and their arrays, as from module.state_dict()."


class Arrays:
    """Named arrays with the interface of a `SafetensorsFile`. No array is copied before it is read.

    Attributes:
        path: What an error calls them.
        tensors: Their types and shapes, as a header would have them.
    """

    path = "the state dict"

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        """Look at types and shapes.

        Raises:
            WeightsError: It is not a mapping of names to arrays.
        """
        if not isinstance(arrays, Mapping):
            raise WeightsError(f"a state dict must be a mapping of names to arrays, not {a_kind(arrays)}", ADVICE)
        complaints = Complaints()
        self._arrays = arrays
        self.tensors: dict[str, TensorInfo] = {}
        self._names: list[str] = []
        self._starts: list[int] = []
        self._flat: Any = None
        end = 0
        for name, array in arrays.items():
            kind = kind_of(array)
            if not isinstance(name, str) or kind is None:
                complaints.add(
                    "not an array with a name", f"{name if isinstance(name, str) else shown(name)}: {a_kind(array)}"
                )
                continue
            start, stored = end, _TYPES.get(kind, kind)
            end += prod(array.shape) * _itemsize(stored)
            self.tensors[name] = TensorInfo(stored, tuple(map(int, array.shape)), start, end)
            self._names.append(name)
            self._starts.append(start)
        complaints.raise_if_any(f"{self.path} cannot be read", ADVICE)

    def read_tensor(self, info: TensorInfo, skip: int, into: memoryview) -> None:
        """Fill ``into`` with a tensor's bytes, after skipping the first ``skip`` of them."""
        first = info.start + skip
        name = self._names[bisect_right(self._starts, first) - 1]
        if self._flat is None:  # a view, or one copy if the values do not lie in order
            with reading(self._arrays[name], name, WeightsError):
                self._flat = self._arrays[name].reshape(-1)
            if isinstance(self._flat, mx.array):
                to_mlx(self._flat, name, WeightsError, {"uint32": mx.uint32})  # computed once, not for each piece
        size = _itemsize(info.dtype)
        begin = (first - self.tensors[name].start) // size
        piece = to_mlx(self._flat[begin : begin + len(into) // size], name, WeightsError, {"uint32": mx.uint32})
        bits = piece.view(mx.uint16) if piece.dtype == mx.bfloat16 else piece
        into[:] = np.ascontiguousarray(bits).data.cast("B")  # values of a slice may lie apart
        if skip + len(into) == info.stop - info.start:
            self._flat = None


def _itemsize(kind: str) -> int:
    return DTYPE_BITS.get(kind, 8) // 8
