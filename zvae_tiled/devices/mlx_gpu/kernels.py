"""Kernels for MLX on a GPU: each call computes a whole band, in the storage type.

Norms, softmax and sums are computed in float32, each inside one fused kernel. Every result is evaluated immediately,
so that memory is as `devices/mlx_gpu/memory.py` predicts. The tests run these kernels on MLX's CPU backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Step
from zvae_tiled.devices import local
from zvae_tiled.devices.evaluated import evaluate, now
from zvae_tiled.devices.kernels import ALIKE, Affine, Kernels
from zvae_tiled.devices.mlx_gpu.memory import (
    MetalWorkspace,
    conv_part,
    moments_rows,
    queries_at_once,
    winograd_channels,
)
from zvae_tiled.devices.probes import Asked, Probes, Weigher
from zvae_tiled.devices.storage import MlxStorage
from zvae_tiled.devices.workspace import Workspace, block_rows, local_rows

Weights = dict[str, mx.array]
Pieces = list[mx.array]
Arithmetic = Callable[..., mx.array]


def present(kind: str) -> bool:
    """Return whether MLX computes on a GPU of this kind."""
    return mx.default_device().type != mx.cpu and (kind == "metal") == mx.metal.is_available()


def kernels_for(workspace: Workspace, dtype: mx.Dtype) -> Kernels[mx.array]:
    """Return the kernels whose memory the Workspace predicts."""
    return StripKernels(dtype, winograd=not isinstance(workspace, MetalWorkspace) or workspace.winograd)


class StripKernels(MlxStorage):
    """Kernels for MLX on a GPU."""

    folds = False  # sums of bfloat16 weights would be rounded again

    def __init__(self, dtype: mx.Dtype, winograd: bool = True, compiled: bool | None = None) -> None:
        """Choose how to convolve and whether to compile.

        Args:
            dtype: The type of maps and weights.
            winograd: Let MLX convolve by Winograd. Metal does so if there are many channels. It is faster, but takes
                memory. Its error is 8 times as large in float32, 40 times in bfloat16, and thousands of times where
                float32 means TF32 (MLX's pull request 4242).
            compiled: Fuse elementwise arithmetic. Default: on GPUs only, because MLX runs the C++ compiler for a CPU.
        """
        super().__init__(dtype)
        self.winograd = winograd
        self._extents: list[tuple[int, mx.array]] = []  # of each part of the last convolution: its first row, and these
        fuse = compiled if compiled is not None else mx.default_device().type == mx.gpu
        wrap: Callable[[Arithmetic], Arithmetic] = mx.compile if fuse else lambda function: function
        self._normed = {"none": wrap(_normal), "silu": wrap(_silu), "relu": wrap(_relu)}
        self._sum = wrap(_sum)
        self._sum_skip = wrap(_sum_skip)

    def prepare(self, step: Step, weights: Mapping[str, mx.array]) -> Weights:
        """Return the weights in the type of the maps. Weights of that type are not copied."""
        if step.local:
            return local.prepared(step, weights)
        ready = {name: array.astype(self.dtype) for name, array in weights.items()}
        if not self.winograd and winograd_channels(step):
            # MLX uses no Winograd for a kernel that it has to flip. Flipped twice, the convolution is the same.
            ready["weight"] = mx.contiguous(ready["weight"][:, ::-1, ::-1])
        evaluate(ready)
        return ready

    def grain(self, step: Step) -> int:
        """Return 2 where a skip is spread over a doubled map, so that each of its rows is read whole; else 1."""
        return step.factor if step.spread else 1

    def edge(self, step: Step, width: int) -> Pieces:
        """Return a row of zeros."""
        return [now(mx.zeros((1, 1, width, step.inputs), dtype=self.dtype))]

    def activate(self, step: Step, x: mx.array, affine: Affine | None) -> Pieces:
        """Normalise and apply SiLU, then upsample."""
        if affine is not None:
            x = now(self._normalised(step, x, affine))
        elif step.activation == "relu":
            x = now(mx.maximum(x, 0))
        if step.upsample:
            _, rows, width, channels = x.shape
            large = mx.broadcast_to(x[:, :, None, :, None], (1, rows, 2, width, 2, channels))
            x = now(large.reshape(1, 2 * rows, 2 * width, channels))
        return [x]

    def _normalised(self, step: Step, x: mx.array, affine: Affine) -> mx.array:
        """Return the normalised and activated map, not evaluated."""
        if step.rms is not None:
            lengths = mx.linalg.norm(x.astype(mx.float32), axis=-1, keepdims=True)
            affine = (affine[0] / mx.maximum(now(lengths), step.rms), *affine[1:])
        return self._normed[step.activation](x, *affine)

    def span(self, pieces: Pieces, start: int, stop: int) -> Pieces:
        """Return some rows of pieces. Pieces are joined in place, so a band is held only once while it is convolved.

        Rows from the first on are used immediately and not copied. Later rows are copied, so that the others are freed.
        """
        if start == stop:
            return []
        pieces[:] = [_joined(pieces)]
        return [pieces[0][:, :stop] if start == 0 else self.join([(pieces[0], start, stop)])]

    def count(self, pieces: Pieces) -> int:
        """Return the number of rows in the pieces."""
        return sum(piece.shape[1] for piece in pieces)

    def conv(self, step: Step, weights: Weights, pieces: Pieces, skip: mx.array | None) -> mx.array:
        """Convolve a band, in parts if it is too large for one convolution."""
        x = _joined(pieces)
        if step.local:
            return self._computed(step, weights, x, skip)
        rows, width = step.gives(x.shape[1]), x.shape[2] // step.stride
        tall, wide = conv_part(step, rows, width)
        self._extents = []
        if (tall, wide) == (rows, width):
            return now(self._convolved(step, weights, x, skip, 0, 0, width))
        out = now(mx.zeros((1, rows, width, step.outputs), dtype=self.dtype))
        for top in range(0, rows, tall):
            bottom = min(top + tall, rows)
            for left in range(0, width, wide):
                right = min(left + wide, width)
                part = x[:, top * step.stride : top * step.stride + step.reads(bottom - top)]
                aside = None if skip is None else skip[:, top:bottom, left:right]
                out[:, top:bottom, left:right] = self._convolved(step, weights, part, aside, top, left, right)
                evaluate(out)  # in place, because no other reference to the array exists
        return out

    def _computed(self, step: Step, weights: Weights, x: mx.array, skip: mx.array | None) -> mx.array:
        """Compute a local Step, some rows at a time."""
        rows, width = step.gives(x.shape[1]), x.shape[2]
        out, tall = now(mx.zeros((1, rows, width, step.outputs), dtype=self.dtype)), local_rows(step, width)
        self._extents = []
        for top in range(0, rows, tall):
            part = slice(top, min(top + tall, rows))
            window = now(x[0, part.start : part.stop + step.kernel - 1].astype(mx.float32))
            y = local.computed(step, weights, window)
            self._extents.append((top, now(_extent(y[None]))))
            y = y if skip is None else now(y + now(skip[0, part].astype(mx.float32)))
            out[0, part] = y.astype(self.dtype)
            evaluate(out)
        return out

    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and the largest sum of each row of the last `conv`, before bias and skip."""
        rows = max(top + part.shape[1] for top, part in self._extents)
        low, high = np.full(rows, np.inf), np.full(rows, -np.inf)
        for top, part in self._extents:
            (least, most), place = np.asarray(part), slice(top, top + part.shape[1])
            low[place] = np.minimum(low[place], least)  # NumPy's minimum and maximum keep a NaN
            high[place] = np.maximum(high[place], most)
        return low, high

    def _convolved(
        self, step: Step, weights: Weights, x: mx.array, skip: mx.array | None, top: int, left: int, right: int
    ) -> mx.array:
        """Convolve the columns from `left` to `right`, note the extent, and add bias and skip.

        The caller evaluates the sums: then no reference to the product remains, and MLX overwrites it.
        """
        y = now(self._product(step, weights["weight"], x, left, right))
        self._extents.append((top, now(_extent(y))))
        bias = weights["bias"]
        if skip is not None and step.closes is not None and step.closes.relu:
            skip = mx.maximum(skip, 0)
        if skip is not None and "shortcut.weight" in weights:
            skip = _project(skip, weights["shortcut.weight"])
            bias = bias.astype(mx.float32) + weights["shortcut.bias"].astype(mx.float32)
        return self._sum(y, bias) if skip is None else self._sum_skip(y, bias, skip)

    def _product(self, step: Step, weight: mx.array, x: mx.array, left: int, right: int) -> mx.array:
        if step.halo == 0:
            return _project(x[:, :, left:right], weight)
        (before, after), width = step.zeros, x.shape[2]
        low, high = left * step.stride - before, right * step.stride + after
        if (left, right) != (0, width // step.stride):
            # Pad one end here: Metal's Winograd pads both ends by the first number, and would read beyond the map.
            ends = (max(0, -low), max(0, high - width))
            x, before, after = mx.pad(x[:, :, max(low, 0) : high], [(0, 0), (0, 0), ends, (0, 0)]), 0, 0
        flip = not self.winograd and winograd_channels(step)
        return mx.conv_general(x, weight, stride=step.stride, padding=([0, before], [0, after]), flip=flip)

    def keys(self, step: Step, weights: Weights, x: mx.array, affine: Affine) -> mx.array:
        """Return the attention's keys and values."""
        normal = now(self._normalised(step, x, affine))
        both = [
            now(self._sum(_project(normal, weights[f"{name}.weight"]), weights[f"{name}.bias"]))
            for name in ("to_k", "to_v")
        ]
        del normal
        return now(mx.concatenate(both, axis=-1))

    def attend(
        self,
        step: Step,
        weights: Weights,
        x: mx.array,
        affine: Affine,
        blocks: Iterator[mx.array],
        gains: Iterator[float] = ALIKE,
    ) -> mx.array:
        """Attend from all pixels of a band to one block of keys after the other, with an online softmax."""
        states = self._softened(step, weights, x, affine, blocks, gains)
        attended = [states.pop(0).result(self.dtype) for _ in range(len(states))]
        joined = now(mx.concatenate(attended, axis=0)).reshape(x.shape)
        del attended
        return now(self._sum_skip(_project(joined, weights["to_out.0.weight"]), weights["to_out.0.bias"], x))

    def asked(
        self,
        step: Step,
        weights: Weights,
        x: mx.array,
        affine: Affine,
        blocks: Iterator[mx.array],
        gains: Iterator[float] = ALIKE,
    ) -> Asked:
        """Return what `attend` adds to each pixel of x, in float32, and the queries."""
        states = self._softened(step, weights, x, affine, blocks, gains)
        queries, logs = ([np.asarray(each) for each in found] for found in zip(*map(_found, states), strict=True))
        joined = now(mx.concatenate([states.pop(0).result(mx.float32) for _ in range(len(states))], axis=0))
        wide = {name: weights[f"to_out.0.{name}"].astype(mx.float32) for name in ("weight", "bias")}
        answers = np.asarray(now(_project(joined, wide["weight"]) + wide["bias"]))
        return Asked(np.concatenate(queries), np.concatenate(logs), answers)

    def weigher(self, probes: Probes) -> Weigher:
        """Return a function that weighs the keys of a block."""
        return Weigher(probes)

    def _softened(
        self,
        step: Step,
        weights: Weights,
        x: mx.array,
        affine: Affine,
        blocks: Iterator[mx.array],
        gains: Iterator[float],
    ) -> list[_Softmax]:
        """Return the softmax of some queries at a time."""
        _, rows, width, channels = x.shape
        query = now(
            self._sum(_project(self._normalised(step, x, affine), weights["to_q.weight"]), weights["to_q.bias"])
        )
        query = query.reshape(-1, channels)
        at_once = queries_at_once(block_rows(width) * width)
        states = [_Softmax(query[start : start + at_once]) for start in range(0, rows * width, at_once)]
        del query
        for block in blocks:
            both, gain = now(block.reshape(-1, 2 * channels).astype(mx.float32)), next(gains)
            del block
            for state in states:
                state.add(both[:, :channels], both[:, channels:], gain)
            del both
        return states

    def moments(self, x: mx.array) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and M2 of every channel of every row. They take two passes, over some rows at a time."""
        _, rows, width, channels = x.shape
        at_once = moments_rows(width, channels)
        parts = [_moments(x[0, start : start + at_once]) for start in range(0, rows, at_once)]
        means, m2s = np.concatenate(parts, axis=1)
        return means, m2s


class _Softmax:
    """The online softmax of some queries: largest score, sum of weights, and weighted sum of values so far."""

    def __init__(self, query: mx.array) -> None:
        self.query = now(query.astype(mx.float32) * query.shape[-1] ** -0.5)
        self.top = mx.array(-np.inf)
        self.weight = self.total = mx.array(0.0)

    def add(self, keys: mx.array, values: mx.array, gain: float = 0.0) -> None:
        scores = now(self.query @ keys.T)
        self.top = self.top - gain  # scores only count as differences from the largest one
        top = now(mx.maximum(mx.max(scores, axis=-1, keepdims=True), self.top))
        weights = now(mx.exp(scores - top))
        del scores
        fade = mx.exp(self.top - top)
        self.weight = mx.sum(weights, axis=-1, keepdims=True) + self.weight * fade
        self.total = weights @ values + self.total * fade
        self.top = top + gain
        evaluate(self.weight, self.total, self.top)

    def result(self, dtype: mx.Dtype) -> mx.array:
        return now((self.total / self.weight).astype(dtype))


def _found(state: _Softmax) -> tuple[mx.array, mx.array]:
    """Return some queries, and the logarithms of the sums of their weights."""
    return state.query, now((state.top + mx.log(state.weight)).reshape(-1))


def _moments(rows: mx.array) -> np.ndarray:
    """Return mean and M2 (2, rows, channels), read from the device at once."""
    wide = rows.astype(mx.float32)
    mean = mx.mean(wide, axis=1, keepdims=True)
    return np.asarray(now(mx.stack([mean[:, 0], mx.sum(mx.square(wide - mean), axis=1)])))


def _extent(y: mx.array) -> mx.array:
    """Return the smallest and the largest number of each row (2, rows)."""
    rows = y.reshape(y.shape[1], -1)
    return mx.stack([mx.min(rows, axis=1), mx.max(rows, axis=1)]).astype(mx.float32)


def _joined(pieces: Pieces) -> mx.array:
    return pieces[0] if len(pieces) == 1 else now(mx.concatenate(pieces, axis=1))


def _project(x: mx.array, weight: mx.array) -> mx.array:
    """Multiply by the weight of a linear layer or of a 1×1 convolution."""
    return x @ weight.reshape(weight.shape[0], -1).T


def _normal(x: mx.array, scale: mx.array, shift: mx.array, mean: mx.array) -> mx.array:
    return ((x.astype(mx.float32) - mean) * scale + shift).astype(x.dtype)


def _silu(x: mx.array, scale: mx.array, shift: mx.array, mean: mx.array) -> mx.array:
    y = (x.astype(mx.float32) - mean) * scale + shift
    return (y * mx.sigmoid(y)).astype(x.dtype)


def _relu(x: mx.array, scale: mx.array, shift: mx.array, mean: mx.array) -> mx.array:
    return mx.maximum((x.astype(mx.float32) - mean) * scale + shift, 0).astype(x.dtype)


def _sum(y: mx.array, bias: mx.array) -> mx.array:
    return (y.astype(mx.float32) + bias.astype(mx.float32)).astype(y.dtype)


def _sum_skip(y: mx.array, bias: mx.array, skip: mx.array) -> mx.array:
    return (y.astype(mx.float32) + bias.astype(mx.float32) + skip.astype(mx.float32)).astype(y.dtype)
