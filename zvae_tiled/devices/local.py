"""Local Steps in MLX, in float32: RMS norms, depthwise convolutions and linear attentions, some rows at a time.

A CPU computes one row at a time: every call has the shape of one row, so bits do not depend on the band.
`local_bytes` of `devices/workspace.py` predicts the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Step
from zvae_tiled.chain.step import LINEAR_EPS, RMS_EPS
from zvae_tiled.devices.evaluated import now

Weights = Mapping[str, mx.array]


def prepared(step: Step, weights: Mapping[str, Any]) -> dict[str, mx.array]:
    """Return a local Step's weights in float32, those of depthwise convolutions tap by tap."""
    ready = {name: now(mx.array(array).astype(mx.float32)) for name, array in weights.items()}
    for name in ("weight", "proj_in.weight"):
        if step.kernel > 1 and name in ready:
            ready[name] = now(mx.contiguous(ready[name].reshape(step.inputs, -1).T))
    return ready


def computed(step: Step, weights: Weights, window: mx.array) -> mx.array:
    """Return rows of the result, without the skip.

    Args:
        step: The Step.
        weights: What `prepared` returned; of a linear attention its state.
        window: The rows that are read (rows + 2·halo, width, channels), activated, in float32.
    """
    return _KINDS[step.kind](step, weights, window)


def sums(step: Step, rows: Iterator[mx.array]) -> np.ndarray:
    """Return what each row (1, 1, width, channels) adds to the state of a linear attention, (rows, *state)."""
    return np.stack([np.asarray(_summed(step, row.astype(mx.float32))) for row in rows])


def gives_zeros(step: Step, state: mx.array, pieces: list[mx.array]) -> bool:
    """Return whether a linear attention must give zeros: all values are zeros, or no query has a key."""
    values, keys = state[:, : step.head], state[:, step.head]
    queries = (mx.maximum(x.reshape(-1, step.heads, 3, step.head)[:, :, 0], 0) for x in pieces)
    return not mx.any(values != 0).item() or not any(mx.any(each * keys > 0).item() for each in queries)


def _summed(step: Step, row: mx.array) -> mx.array:
    parts = row.reshape(-1, step.heads, 3, step.head)
    keys = now(mx.maximum(parts[:, :, 1], 0).transpose(1, 0, 2))
    values = mx.concatenate([parts[:, :, 2], mx.ones((*parts.shape[:2], 1))], axis=-1)
    return now(now(values.transpose(1, 2, 0)) @ keys)


def _rms(step: Step, weights: Weights, x: mx.array) -> mx.array:
    del step
    inverse = now(mx.rsqrt(now(mx.mean(mx.square(x), axis=-1, keepdims=True)) + RMS_EPS))
    return now(now(x * inverse) * weights["weight"] + weights["bias"])


def _gated(step: Step, weights: Weights, window: mx.array) -> mx.array:
    y = now(_depthwise(step, weights["weight"], window) + weights["bias"])
    gate = y[..., step.outputs :]
    gate = now(gate * now(mx.sigmoid(gate)))
    return now(y[..., : step.outputs] * gate)


def _scales(step: Step, weights: Weights, window: mx.array) -> mx.array:
    rows, width = step.gives(window.shape[0]), window.shape[1]
    groups = step.inputs // step.head
    wide = _depthwise(step, weights["proj_in.weight"], window).reshape(rows * width, groups, step.head)
    mixers = weights["proj_out.weight"].reshape(groups, step.head, step.head)
    mixed = now(now(wide.transpose(1, 0, 2)) @ mixers.swapaxes(1, 2))
    del wide
    appended = now(mixed.transpose(1, 0, 2).reshape(rows, width, step.inputs))
    return now(mx.concatenate([window[step.halo : step.halo + rows], appended], axis=-1))


def _linear(step: Step, weights: Weights, x: mx.array) -> mx.array:
    rows, width, _ = x.shape
    parts = x.reshape(-1, step.heads, 3, step.head)
    queries = now(mx.maximum(parts[:, :, 0], 0).transpose(1, 0, 2))
    both = now(queries @ weights["state"].swapaxes(1, 2))
    attended = now(both[..., : step.head] / (both[..., step.head :] + LINEAR_EPS))
    return now(attended.transpose(1, 0, 2).reshape(rows, width, step.outputs))


def _depthwise(step: Step, taps: mx.array, window: mx.array) -> mx.array:
    """Add up one tap after the other."""
    rows, width, kernel = step.gives(window.shape[0]), window.shape[1], step.kernel
    padded = now(mx.pad(window, [(0, 0), (step.halo, step.halo), (0, 0)]))
    total = now(mx.zeros((rows, width, step.inputs)))
    for tap in range(kernel**2):
        down, across = divmod(tap, kernel)
        total = now(total + now(padded[down : down + rows, across : across + width] * taps[tap]))
    return total


_KINDS = {"rms": _rms, "gated": _gated, "scales": _scales, "linear": _linear}
