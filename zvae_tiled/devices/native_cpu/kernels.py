"""The native CPU kernels behind the `Kernels` protocol.

Maps, packed weights and scratch lie in counted memory (`devices/counted.py`). No activated rows are stored: a piece is
rows in their storage type, and the norm that the convolution applies to them.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Step
from zvae_tiled.chain.step import Activation
from zvae_tiled.devices import local
from zvae_tiled.devices.counted import room, spare
from zvae_tiled.devices.kernels import ALIKE, Affine, Kernels
from zvae_tiled.devices.native_cpu import library as native
from zvae_tiled.devices.native_cpu.arrays import (
    NUMPY,
    Array,
    Rows,
    address,
    floats,
    memory_of,
    number_of,
    row_addresses,
)
from zvae_tiled.devices.native_cpu.attention import Softmax
from zvae_tiled.devices.native_cpu.choice import BFLOAT16, native_workspace
from zvae_tiled.devices.native_cpu.local_rows import activated, computed_rows
from zvae_tiled.devices.native_cpu.memory import NativeWorkspace
from zvae_tiled.devices.native_cpu.readback import kept, unwritten
from zvae_tiled.devices.native_cpu.storage import NativeStorage
from zvae_tiled.devices.native_cpu.weighing import weighed
from zvae_tiled.devices.probes import Asked, Probes
from zvae_tiled.devices.storage import MlxStorage, magnitudes
from zvae_tiled.devices.workspace import Workspace

_ACTIVATIONS = {"none": 0, "silu": 1, "relu": 2}
"""Numbers of the activations (native/zvae.h)."""

_PROJECTION = Step("projection", "conv", 1, 1, kernel=1)


@dataclass(frozen=True)
class Weights:
    """The packed weights of a Step, its biases, and the weights they were made from."""

    packed: dict[str, np.ndarray]
    biases: dict[str, np.ndarray]
    own: Mapping[str, mx.array]


def kernels_for(workspace: Workspace, dtype: mx.Dtype) -> Kernels[Array]:
    """Return the kernels whose memory the Workspace predicts, whatever the environment names by now."""
    library = native.open_library()
    assert isinstance(library, native.Library), "the device was made for native kernels"
    assert isinstance(workspace, NativeWorkspace), "the device is this folder's"
    path = library.runs[workspace.name]
    # Other sizes would let native code write past its memory.
    fits = workspace == native_workspace(path, workspace.threads) and (
        dtype == mx.bfloat16 or path.name not in BFLOAT16
    )
    assert fits, "the device was made for other kernels"
    return NativeKernels(dtype, path, workspace)


class NativeKernels(NativeStorage):
    """Kernels for a CPU whose instructions the native code knows."""

    folds = True

    def __init__(self, dtype: mx.Dtype, path: native.NativePath, workspace: NativeWorkspace) -> None:
        """Compute by one path.

        Args:
            dtype: Maps are stored in this type.
            path: The path that computes.
            workspace: Its sizes: how bands are cut into tiles.
        """
        library = native.open_library()
        assert isinstance(library, native.Library), "a path comes from the library"
        super().__init__(dtype, library, path.name, workspace.threads)
        self.workspace = workspace
        self._extent = np.empty((2, 0))
        self._intact = True
        self._checked: tuple[
            Callable[[], object], np.ndarray
        ]  # the last result, and the largest magnitudes of its rows
        self._checked = (_nothing, np.empty(0))

    def grain(self, step: Step) -> int:
        """Return how many rows of the result belong together."""
        return self.workspace.grain(step)

    def prepare(self, step: Step, weights: Mapping[str, mx.array]) -> Weights:
        """Pack the weights, and fold an upsampling into its convolution."""
        if step.local:
            return Weights({}, {}, local.prepared(step, weights))
        packed: dict[str, np.ndarray] = {}
        biases = {name: floats(array) for name, array in weights.items() if name.endswith("bias")}
        if step.kind == "attention":
            for name in ("to_q", "to_out.0"):
                packed[name] = self._packed([weights[f"{name}.weight"]])
            packed["to_kv"] = self._packed([weights["to_k.weight"], weights["to_v.weight"]])
            biases["to_kv.bias"] = np.concatenate([biases["to_k.bias"], biases["to_v.bias"]])
            return Weights(packed, biases, weights)
        packed["weight"] = self._packed([weights["weight"]], step)
        if step.shortcut:
            packed["shortcut"] = self._packed([weights["shortcut.weight"]])
            biases["bias"] = biases["bias"] + biases["shortcut.bias"]
        return Weights(packed, biases, weights)

    def edge(self, step: Step, width: int) -> list[Rows]:
        """Return a row of zeros."""
        return [Rows(None, 0, 1, width, None)]

    def activate(self, step: Step, x: Array, affine: Affine | None) -> list[Rows]:
        """Note the norm: the convolution applies it."""
        return [Rows(x, 0, x.shape[1], x.shape[2], affine)]

    def count(self, pieces: list[Rows]) -> int:
        """Return how many rows the pieces have."""
        return sum(piece.stop - piece.first for piece in pieces)

    def span(self, pieces: list[Rows], start: int, stop: int) -> list[Rows]:
        """Return the rows from start to stop. Rows below the first are copied, so that the rows above can be freed."""
        spans, top = [], 0
        for piece in pieces:
            rows = piece.stop - piece.first
            low, high = max(start - top, 0), min(stop - top, rows)
            top += rows
            if low >= high:
                continue
            part = replace(piece, first=piece.first + low, stop=piece.first + high)
            if start and low and part.array is not None:
                copy = self.join([(part.array, part.first, part.stop)])
                part = replace(part, array=copy, first=0, stop=high - low)
            spans.append(part)
        return spans

    def conv(self, step: Step, weights: Weights, pieces: list[Rows], skip: list[Rows] | None) -> np.ndarray:
        """Activate, convolve, add bias and skip, tile by tile."""
        if step.local:
            out, self._extent = computed_rows(step, weights.own, pieces, skip, self.dtype)
            return out
        return self._convolved(
            step,
            weights.packed,
            weights.biases["bias"],
            pieces,
            skip,
            activation=step.activation,
            rms=step.rms,
        )

    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and the largest sum of each row of the last `conv`, before bias and skip."""
        low, high = self._extent
        return low, high

    def idle(self, step: Step, weights: Weights, pieces: list[Rows]) -> bool:
        """Tell whether one value everywhere may be right: there are few values, or weights or input are flat."""
        return MlxStorage(self.dtype).idle(step, dict(weights.own), [activated(piece, step) for piece in pieces])

    def largest(self, x: Array) -> np.ndarray:
        """Return the largest magnitude in each row. For the last result it is known already."""
        known, largest = self._checked
        if known() is x:
            return largest
        memory = memory_of(x).reshape(x.shape[1], -1)
        _, bits = kept(self._library, self.path, self.workspace.threads, unwritten(0), memory)
        return self._magnitudes(bits, memory)

    def intact(self) -> bool:
        """Tell whether memory still holds every result written since the last call of `intact`."""
        intact, self._intact = self._intact, True
        return intact

    def lost(self, weights: Mapping[str, mx.array], prepared: Weights) -> bool:
        """Return False: `intact` sees more."""
        return False

    def blank(self, pieces: list[Rows]) -> bool:
        """Return False: activated rows are not stored."""
        return False

    def keys(self, step: Step, weights: Weights, x: Array, affine: Affine) -> np.ndarray:
        """Return the attention's keys and values."""
        both = replace(_PROJECTION, inputs=step.inputs, outputs=2 * step.inputs)
        packed = {"weight": weights.packed["to_kv"]}
        pieces = self.activate(step, x, affine)
        return self._convolved(both, packed, weights.biases["to_kv.bias"], pieces, rms=step.rms)

    def attend(
        self,
        step: Step,
        weights: Weights,
        x: Array,
        affine: Affine,
        blocks: Iterator[Array],
        gains: Iterator[float] = ALIKE,
    ) -> np.ndarray:
        """Attend to all blocks of keys, project the result, and add x."""
        softmax = self._softened(weights, self._query(step, weights, x, affine), blocks, gains)
        total = softmax.result()
        del softmax
        return self._projected(step, weights, [total], self.beside([(x, 0, x.shape[1])]))

    def asked(
        self,
        step: Step,
        weights: Weights,
        x: Array,
        affine: Affine,
        blocks: Iterator[Array],
        gains: Iterator[float] = ALIKE,
    ) -> Asked:
        """Return what `attend` adds to each pixel of x, in float32, and the queries."""
        query, channels = self._query(step, weights, x, affine), x.shape[-1]
        softmax = self._softened(weights, query, blocks, gains)
        logs, total = softmax.logs(), softmax.result()
        del softmax
        answers = self._projected(step, weights, [total], None, np.float32)
        query *= np.float32(channels**-0.5)
        return Asked(query.reshape(-1, channels), logs, answers.reshape(-1, channels))

    def weigher(self, probes: Probes) -> Callable[[Array], np.ndarray]:
        """Return a function that weighs the keys of a block: a convolution whose weights are the probes."""
        queries, channels = probes.queries.shape
        step = replace(_PROJECTION, inputs=channels, outputs=queries)
        packed, bias = {"weight": self._packed([probes.queries.reshape(queries, 1, 1, channels)], step)}, -probes.logs

        def score(keys: np.ndarray) -> np.ndarray:
            return self._convolved(step, packed, bias, self.activate(step, keys, None), kind=np.float32)

        return lambda block: weighed(block, score)

    def _query(self, step: Step, weights: Weights, x: Array, affine: Affine) -> np.ndarray:
        return self._convolved(
            replace(_PROJECTION, inputs=step.inputs, outputs=step.inputs),
            {"weight": weights.packed["to_q"]},
            weights.biases["to_q.bias"],
            self.activate(step, x, affine),
            kind=np.float32,
            rms=step.rms,
        )

    def _softened(
        self, weights: Weights, query: np.ndarray, blocks: Iterator[Array], gains: Iterator[float]
    ) -> Softmax:
        softmax = Softmax(self.workspace, query, self._attended)
        for block in blocks:
            softmax.add(block, next(gains))
            del block
        return softmax

    def _projected(
        self, step: Step, weights: Weights, totals: list[np.ndarray], skip: list[Rows] | None, kind: Any = None
    ) -> np.ndarray:
        """Project the attention's result, which is taken from the list and freed."""
        projection = replace(_PROJECTION, inputs=step.inputs, outputs=step.inputs)
        packed, bias = {"weight": weights.packed["to_out.0"]}, weights.biases["to_out.0.bias"]
        return self._convolved(projection, packed, bias, self.activate(step, totals.pop(), None), skip, kind=kind)

    def _attended(self, operation: native.Attend, written: np.ndarray, memories: list[np.ndarray]) -> None:
        self._library.call(self.path, operation)
        self._compare(written, *memories)

    def moments(self, x: Array) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and M2 of every channel of every row."""
        _, rows, width, channels = x.shape
        mean, m2 = np.full((2, rows, channels), np.nan)
        memory = memory_of(x)
        shape = (number_of(memory), rows, width, channels)
        operation = native.Moments(*shape, *map(address, (memory, mean, m2)), self.workspace.threads)
        self._library.call(self.path, operation)
        return mean, m2

    def _packed(self, weights: Sequence[Array], step: Step = _PROJECTION) -> np.ndarray:
        """Pack weights (O, kernel, kernel, I); the outputs of several weights follow one another."""
        outputs, inputs = sum(array.shape[0] for array in weights), weights[0].shape[-1]
        source, *others = map(memory_of, weights)
        if others:
            joined = room((outputs, *source.shape[1:]), source.dtype)
            source = np.concatenate([source, *others], out=joined)
        whole = replace(step, inputs=inputs, outputs=outputs)
        packed = room(self.workspace.packed_step(whole))
        squares = self.workspace.squared(whole) is not None
        kernels, blocks = 4 if step.upsample and not squares else 1, -(-outputs // self.workspace.outputs)
        written = unwritten(kernels * blocks)
        numbers = packed.view(np.uint16 if self.workspace.number == 2 else np.uint32)
        memories = [source, numbers, written]
        shape = (number_of(source), outputs, inputs, step.kernel, int(step.upsample), int(squares))
        operation = native.Pack(*shape, *map(address, memories), self.workspace.threads)
        self._library.call(self.path, operation)
        self._compare(
            written, numbers.reshape(self.workspace.lanes, -1)
        )  # cut into rows, so that threads can share the reading
        return packed

    def _convolved(
        self,
        step: Step,
        packed: dict[str, np.ndarray],
        bias: np.ndarray,
        pieces: list[Rows],
        skip: list[Rows] | None = None,
        activation: Activation = "none",
        kind: Any = None,
        rms: float | None = None,
    ) -> np.ndarray:
        rows, width = step.gives(self.count(pieces)), pieces[0].width // step.stride
        tile = self.workspace.tile(step, rows, width)
        kind = NUMPY[self.dtype] if kind is None else kind
        out = room((1, rows * step.factor, width * step.factor, step.outputs), kind)
        scratch = spare(min(self.workspace.threads, tile.count) * tile.scratch)
        held, addresses, affine = row_addresses(pieces)
        norm = [] if affine is None else [np.asarray(each) for each in affine]
        low, high = np.full((2, rows, tile.across), np.nan, np.float32)
        written = unwritten(rows, tile.across)
        shortcut = packed["shortcut"] if step.shortcut and skip is not None else None
        beside, skips, _ = row_addresses(skip or [])
        weights_at, bias_at, out_at, scratch_at = map(address, (packed["weight"], bias, out, scratch))
        operation = native.Conv(
            in_type=number_of(held[0] if held else np.empty(0, NUMPY[self.dtype])),
            out_type=number_of(out),
            rows=rows,
            width=width,
            in_width=pieces[0].width,
            inputs=step.inputs,
            outputs=step.outputs,
            kernel=step.kernel,
            stride=step.stride,
            left=step.zeros[0],
            upsample=int(step.upsample),
            squares=int(self.workspace.squared(step) is not None),
            tile_rows=tile.rows,
            tile_columns=tile.columns,
            rows_in=ctypes.addressof(addresses),
            activation=_ACTIVATIONS[activation],
            weights=weights_at,
            bias=bias_at,
            skip=ctypes.addressof(skips) if skip is not None else None,
            skip_relu=int(step.closes is not None and step.closes.relu),
            skip_inputs=step.skip if shortcut is not None else 0,
            shortcut=None if shortcut is None else address(shortcut),
            out=out_at,
            low=address(low),
            high=address(high),
            sums=address(written),
            scratch=scratch_at,
            scratch_bytes=tile.scratch,
            threads=self.workspace.threads,
        )
        if norm:
            operation.scale, operation.shift, operation.mean = map(address, norm)
            operation.rms = rms or 0.0
        self._library.call(self.path, operation)
        del held, addresses, beside, skips, scratch
        largest = self._compare(written, out.reshape(rows * step.factor, -1))
        self._extent = np.stack([low.min(axis=1), high.max(axis=1)])
        self._checked = (weakref.ref(out), self._magnitudes(largest, out))
        return out

    def _magnitudes(self, bits: np.ndarray, memory: np.ndarray) -> np.ndarray:
        return magnitudes(bits, mx.float32 if memory.itemsize == 4 else self.dtype)

    def _compare(self, written: np.ndarray, *memories: np.ndarray) -> np.ndarray:
        """Check that memory holds what was written. Return the largest magnitude in each row of the last, as bits."""
        intact, largest = kept(self._library, self.path, self.workspace.threads, written, *memories)
        self._intact = self._intact and intact
        return largest


def _nothing() -> None:
    return None
