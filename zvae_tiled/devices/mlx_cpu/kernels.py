"""Kernels for MLX on a CPU: each call computes one row, in float32.

Every call into MLX has the shape of one row, at any place in a band. So its bits cannot depend on the band height,
with any BLAS and any way to split products into blocks (docs/exactness.md). On CPUs, MLX convolves in float32 for
every type, so float32 costs nothing. Maps are stored in the VAE's own type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Step
from zvae_tiled.devices import local
from zvae_tiled.devices.evaluated import now
from zvae_tiled.devices.folding import fold_upsampling
from zvae_tiled.devices.heap import make_room
from zvae_tiled.devices.kernels import ALIKE, Affine, Kernels
from zvae_tiled.devices.mlx_cpu.memory import ROW_CHUNK, CpuWorkspace
from zvae_tiled.devices.probes import Asked, Probes, Weigher
from zvae_tiled.devices.storage import MlxStorage
from zvae_tiled.devices.workspace import KEYS_AT_ONCE, Workspace

Pieces = list[mx.array]


_WORKSPACE = CpuWorkspace()


def present(kind: str) -> bool:
    """Return whether `kind` is ``cpu``. Every machine has a CPU: MLX uses it if no other device is present."""
    return kind == "cpu"


def kernels_for(workspace: Workspace, dtype: mx.Dtype) -> Kernels[mx.array]:
    """Return the kernels whose memory the Workspace predicts."""
    del workspace  # there is only one kind of kernels
    return RowKernels(dtype)


class RowKernels(MlxStorage):
    """Kernels for MLX on a CPU."""

    folds = True

    def prepare(self, step: Step, weights: Mapping[str, mx.array]) -> dict[str, mx.array]:
        """Return the weights in float32, with upsampling folded into its convolution."""
        if step.local:
            return local.prepared(step, weights)
        ready: dict[str, mx.array] = {name: now(array.astype(mx.float32)) for name, array in weights.items()}
        if step.upsample:
            ready |= fold_upsampling(ready.pop("weight"))
        return ready

    def edge(self, step: Step, width: int) -> Pieces:
        """Return a row of zeros."""
        return [now(mx.zeros((1, 1, width, step.inputs)))]

    def activate(self, step: Step, x: mx.array, affine: Affine | None) -> Pieces:
        """Normalise and apply SiLU, row by row."""
        return [_activated(step, row, affine) for row in _rows(x)]

    def span(self, pieces: Pieces, start: int, stop: int) -> Pieces:
        """Return rows `start` to `stop` of pieces."""
        return pieces[start:stop]

    def count(self, pieces: Pieces) -> int:
        """Return the number of rows in the pieces."""
        return len(pieces)

    def conv(self, step: Step, weights: dict[str, mx.array], pieces: Pieces, skip: mx.array | None) -> mx.array:
        """Convolve row by row, some columns at a time."""
        if step.local:
            return self._computed(step, weights, pieces, skip)
        rows, width = step.gives(len(pieces)), pieces[0].shape[2] // step.stride
        written = rows * width * step.factor**2 * step.outputs * self.dtype.size
        make_room(written + _WORKSPACE.conv(step, rows, width, self.dtype.size))
        out = now(mx.zeros((1, rows * step.factor, width * step.factor, step.outputs), dtype=self.dtype))
        self._begin_extent(rows)
        for i in range(rows):
            read = pieces[i * step.stride : i * step.stride + step.kernel]
            window = read[0] if len(read) == 1 else now(mx.concatenate(read, axis=1))
            at = slice(i * step.factor, (i + 1) * step.factor)
            for left in range(0, width, ROW_CHUNK):
                right = min(left + ROW_CHUNK, width)
                y = _convolved(step, weights, window, left, right)
                self._note_extent(i, 1, y)
                y = y + weights["bias"]
                if skip is not None:
                    y = y + _skip(step, weights, skip[:, at, left * step.factor : right * step.factor])
                out[:, at, left * step.factor : right * step.factor] = y.astype(self.dtype)
                mx.eval(out)
        return out

    def _computed(self, step: Step, weights: dict[str, mx.array], pieces: Pieces, skip: mx.array | None) -> mx.array:
        """Compute a local Step, row by row."""
        rows, width = step.gives(len(pieces)), pieces[0].shape[2]
        out = now(mx.zeros((1, rows, width, step.outputs), dtype=self.dtype))
        self._begin_extent(rows)
        for i in range(rows):
            read = [piece[0] for piece in pieces[i : i + step.kernel]]
            y = local.computed(step, weights, read[0] if len(read) == 1 else now(mx.concatenate(read)))
            self._note_extent(i, 1, y)
            y = y if skip is None else now(y + now(skip[0, i : i + 1].astype(mx.float32)))
            out[:, i : i + 1] = y.astype(self.dtype)
            mx.eval(out)
        return out

    def keys(self, step: Step, weights: dict[str, mx.array], x: mx.array, affine: Affine) -> mx.array:
        """Return the attention's keys and values, row by row."""

        def row_keys(row: mx.array) -> mx.array:
            normal = _normal(step, row, affine)
            both = [normal @ weights[f"{name}.weight"].T + weights[f"{name}.bias"] for name in ("to_k", "to_v")]
            return mx.concatenate(both, axis=-1)

        _, rows, width, channels = x.shape
        return self._filled((1, rows, width, 2 * channels), map(row_keys, _rows(x)))

    def attend(
        self,
        step: Step,
        weights: dict[str, mx.array],
        x: mx.array,
        affine: Affine,
        blocks: Iterator[mx.array],
        gains: Iterator[float] = ALIKE,
    ) -> mx.array:
        """Attend from each row to one block of keys after the other, with an online softmax."""
        states = self._softened(step, weights, x, affine, blocks, gains)

        def row_out(row: mx.array) -> mx.array:
            return row.astype(mx.float32) + _projected(states.pop(0), weights).reshape(row.shape)

        return self._filled(x.shape, map(row_out, _rows(x)))

    def asked(
        self,
        step: Step,
        weights: dict[str, mx.array],
        x: mx.array,
        affine: Affine,
        blocks: Iterator[mx.array],
        gains: Iterator[float] = ALIKE,
    ) -> Asked:
        """Return what `attend` adds to each pixel of x, in float32, and the queries."""
        states = self._softened(step, weights, x, affine, blocks, gains)
        queries = [np.asarray(state.query) for row in states for state in row]
        logs = [state.log() for row in states for state in row]
        answers = [np.asarray(now(_projected(row, weights))) for row in states]
        return Asked(*map(np.concatenate, (queries, logs, answers)))

    def weigher(self, probes: Probes) -> Weigher:
        """Return a function that weighs the keys of a block."""
        return Weigher(probes)

    def _softened(
        self,
        step: Step,
        weights: dict[str, mx.array],
        x: mx.array,
        affine: Affine,
        blocks: Iterator[mx.array],
        gains: Iterator[float],
    ) -> list[list[_Softmax]]:
        """Return the softmax of each part of each row."""
        channels = x.shape[-1]
        states = [[_Softmax(_query(step, part, weights, affine)) for part in _parts(row)] for row in _rows(x)]
        for block in blocks:
            both, gain = now(block.reshape(-1, 2 * channels).astype(mx.float32)), next(gains)
            del block
            for start in range(0, both.shape[0], KEYS_AT_ONCE):
                part = both[start : start + KEYS_AT_ONCE]
                for state in (state for row in states for state in row):
                    state.add(part[:, :channels], part[:, channels:], gain)
            del both, part
        return states

    def _filled(self, shape: tuple[int, ...], rows: Iterator[mx.array]) -> mx.array:
        """Compute rows one at a time into one array."""
        out = now(mx.zeros(shape, dtype=self.dtype))
        for i, row in enumerate(rows):
            out[:, i : i + 1] = row.astype(self.dtype)
            mx.eval(out)  # in place, because no other reference to the array exists
        return out

    def moments(self, x: mx.array) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and M2 of every channel of every row, in two passes."""
        means, m2s = [], []
        for row in _rows(x):
            row = row.astype(mx.float32)
            mean = mx.mean(row, axis=2, keepdims=True)
            m2 = mx.sum(mx.square(row - mean), axis=2)
            mx.eval(mean, m2)
            means.append(np.asarray(mean).reshape(-1))
            m2s.append(np.asarray(m2).reshape(-1))
        return np.stack(means), np.stack(m2s)


class _Softmax:
    """The online softmax of a part of a row: largest score, sum of weights, and weighted sum of values so far."""

    def __init__(self, query: mx.array) -> None:
        self.query = query
        self.top: mx.array | None = None
        self.weight: mx.array
        self.total: mx.array

    def add(self, keys: mx.array, values: mx.array, gain: float = 0.0) -> None:
        scores = now(self.query @ keys.T)
        if self.top is not None:
            self.top = self.top - gain  # scores only count as differences from the largest one
        top = mx.max(scores, axis=-1, keepdims=True)
        if self.top is not None:
            top = mx.maximum(top, self.top)
        weights = now(mx.exp(scores - top))
        weight, total = mx.sum(weights, axis=-1, keepdims=True), weights @ values
        if self.top is not None:
            fade = mx.exp(self.top - top)
            weight, total = weight + self.weight * fade, total + self.total * fade
        self.top, self.weight, self.total = top + gain, weight, total
        mx.eval(self.top, weight, total)

    def log(self) -> np.ndarray:
        assert self.top is not None
        return np.asarray(now(self.top + mx.log(self.weight))).reshape(-1)

    def result(self) -> mx.array:
        return self.total / self.weight


def _rows(x: mx.array) -> Iterator[mx.array]:
    return (x[:, i : i + 1] for i in range(x.shape[1]))


def _normal(step: Step, row: mx.array, affine: Affine) -> mx.array:
    if step.rms is not None:
        return _activated(step, row, affine)
    scale, shift, mean = affine
    normal: mx.array = (row.astype(mx.float32) - mean) * scale + shift
    return normal


def _activated(step: Step, row: mx.array, affine: Affine | None) -> mx.array:
    out = now(row.astype(mx.float32) * 1.0)  # copies float32 too, because a view would keep the whole band in memory
    x = np.asarray(out)  # a view of memory that MLX's allocator counts
    with np.errstate(all="ignore"):  # e^-x is correctly Inf for x below -88. The guard finds NaN and other Inf.
        if affine is not None:
            scale, shift, mean = map(np.asarray, affine)
            if step.rms is not None:
                length = np.sqrt(np.einsum("...c,...c->...", x, x))
                x /= np.maximum(length, np.float32(step.rms))[..., None]
            x -= mean
            x *= scale
            x += shift
        if step.activation == "relu":
            np.maximum(x, 0, out=x)
        if step.activation == "silu":
            room = now(mx.zeros(row.shape))
            below = np.asarray(room)
            # NumPy computes exp by vectors, MLX's CPU backend one number at a time, a fifth of a decode's time.
            np.exp(np.negative(x, out=below), out=below)
            below += 1
            x /= below
    return out


def _parts(row: mx.array) -> Iterator[mx.array]:
    return (row[:, :, left : left + ROW_CHUNK] for left in range(0, row.shape[2], ROW_CHUNK))


def _query(step: Step, part: mx.array, weights: dict[str, mx.array], affine: Affine) -> mx.array:
    channels = part.shape[-1]
    query = _normal(step, part, affine) @ weights["to_q.weight"].T + weights["to_q.bias"]
    return now((query * channels**-0.5).reshape(-1, channels))


def _projected(states: list[_Softmax], weights: dict[str, mx.array]) -> mx.array:
    attended = mx.concatenate([state.result() for state in states], axis=0)
    y: mx.array = attended @ weights["to_out.0.weight"].T + weights["to_out.0.bias"]
    return y


def _convolved(step: Step, weights: dict[str, mx.array], window: mx.array, left: int, right: int) -> mx.array:
    if not step.upsample:
        return _patch(window, weights["weight"], left * step.stride, right * step.stride, *step.zeros, step.stride)
    lines = []
    for down in (0, 1):
        rows = window[:, down : down + 2]
        columns = [
            _patch(rows, weights[f"weight.{down}{across}"], left, right, 1 - across, across) for across in (0, 1)
        ]
        lines.append(mx.stack(columns, axis=3))
    return mx.concatenate(lines, axis=1).reshape(1, 2, 2 * (right - left), step.outputs)


def _patch(
    window: mx.array, kernel: mx.array, left: int, right: int, before: int, after: int, stride: int = 1
) -> mx.array:
    """Convolve the columns from `left` to `right`. The kernel reaches `before` and `after` columns to either side."""
    width = window.shape[2]
    low, high = max(left - before, 0), min(right + after, width)
    missing = (low - (left - before), right + after - high)  # beyond the map: zeros
    padding = ([0, missing[0]], [0, missing[1]])
    return mx.conv_general(window[:, :, low:high], kernel, stride=stride, padding=padding)


def _skip(step: Step, weights: dict[str, mx.array], skip: mx.array) -> mx.array:
    skip = skip.astype(mx.float32)
    if step.closes is not None and step.closes.relu:
        skip = mx.maximum(skip, 0)
    if "shortcut.weight" in weights:
        return mx.conv2d(skip, weights["shortcut.weight"]) + weights["shortcut.bias"]
    return skip
