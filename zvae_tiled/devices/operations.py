"""The operations of a decode, one by one, on random bands: `bench.py` measures their memory and their time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Chain, Step
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.here import kernels_for
from zvae_tiled.devices.samples import random_map, random_weights
from zvae_tiled.devices.workspace import block_rows, sums_bytes
from zvae_tiled.planner.cost import EXPONENTIAL, moved_bytes, step_flops

Kind = Literal["shuffle", "prepare", "keys", "attend", "added", "activate", "moments", "spread", "conv"]

BLOCKS = 4
"""Blocks of keys in a timed attention: 8,192 keys, as many as a picture of 724×724 has."""


@dataclass(frozen=True)
class Operation:
    """One operation of a Step on one band.

    Attributes:
        kind: What is done.
        name: The operation, its channels, its band and its type, for people.
        run: Does it.
        predicted: Bytes that the Workspace predicts, the result included.
        flops: Multiplications and additions, as the planner counts them.
        moved: Bytes that are read and written, or prepared, as the planner counts them.
    """

    kind: Kind
    name: str
    run: Callable[[], object]
    predicted: int
    flops: int = 0
    moved: int = 0


def distinct_steps(chain: Chain) -> list[Step]:
    """Return one Step of each kind. Steps that differ only in their names cost the same."""
    nameless = [
        dataclasses.replace(
            step,
            name=step.kind,
            opens=step.kind == "attention",
            norm=step.norm and dataclasses.replace(step.norm, name="norm"),
            parts=tuple(part.rpartition(".")[2] for part in step.parts),
            closes=step.closes and dataclasses.replace(step.closes, shortcut=step.closes.shortcut and "conv_shortcut"),
        )
        for step in chain.steps
    ]
    return list(dict.fromkeys(nameless))


@contextmanager
def no_cache() -> Iterator[None]:
    """Disable MLX's cache of free buffers, so that peaks contain only live arrays."""
    before = mx.set_cache_limit(0)
    try:
        yield
    finally:
        mx.set_cache_limit(before)


def operations(device: Device, step: Step, rows: int, width: int, dtype: mx.Dtype, again: bool) -> Iterator[Operation]:
    """Return the operations of a Step on a band in the order of a decode. Each is to be run before the next is taken.

    Args:
        device: The device, for its Workspace and its kernels.
        step: The Step.
        rows: Rows of the band. A Step that halves reads pairs of them, and one more if they are odd.
        width: Columns of the band, likewise.
        dtype: The VAE's type.
        again: Whether operations are run several times. Otherwise the attention gives up its blocks of keys, as in a
            decode, so that kernels may free them.
    """
    kernels, space, itemsize = kernels_for(device, dtype), device.workspace, dtype.size
    rows, width = (-(-side // step.stride) * step.stride for side in (rows, width))
    kind = str(dtype).removeprefix("mlx.core.")
    about = f"{step.kernel}x{step.kernel} {step.inputs} to {step.outputs}, {rows}x{width}, {kind}"
    x, pixels = random_map((1, rows, width, step.inputs), dtype), rows * width
    if step.kind == "shuffle":  # its result has as many numbers
        moved = moved_bytes(step, pixels, itemsize)
        yield Operation("shuffle", f"shuffle {about}", lambda: kernels.shuffled(step, x), x.nbytes, moved=moved)
        return
    model, ready = random_weights(step, dtype), dict[str, object]()
    held, preparing = space.prepared(step, itemsize)

    def prepare() -> None:
        ready["weights"] = kernels.prepare(step, model)

    yield Operation("prepare", f"prepare {about}", prepare, held + preparing, moved=held)
    weights = ready["weights"]
    norm = kernels.affine(np.full(step.inputs, 0.5), np.full(step.inputs, 0.1))
    if step.kind == "attention":
        both = 2 * pixels * step.inputs * itemsize + space.keys(step, rows, width, itemsize)
        yield Operation("keys", f"keys {about}", lambda: kernels.keys(step, weights, x, norm), both)
        blocks = [random_map((1, block_rows(width), width, 2 * step.inputs), dtype)]
        keys = (BLOCKS if again else 1) * block_rows(width) * width
        each = (lambda: iter(BLOCKS * blocks)) if again else (lambda: (blocks.pop() for _ in range(1)))
        attended = pixels * step.outputs * itemsize + space.attend(step, rows, width, itemsize)
        attend = lambda: kernels.attend(step, weights, x, norm, each())  # noqa: E731
        work = pixels * (4 * step.inputs * (step.inputs + keys) + EXPONENTIAL * keys)
        yield Operation("attend", f"attend {about}", attend, attended, work)
        return
    if step.joins:
        yield Operation("added", f"added {about}", lambda: kernels.added(x, x), space.added(x.nbytes))
    affine = norm if step.norm or step.activation == "silu" else None
    grown = 1 if kernels.folds else step.factor
    activated = pixels * grown**2 * step.inputs * space.compute_size(itemsize)
    activated += space.activate(step, rows, width, itemsize)
    yield Operation("activate", f"activate {about}", lambda: kernels.activate(step, x, affine), activated)
    gather: Callable[[], object] = lambda: kernels.moments(x)  # noqa: E731
    gathered = space.moments(step.inputs, rows, width, itemsize)
    if step.kind == "linear":
        gather, gathered = partial(kernels.sums, step, x), sums_bytes(step, rows, width)
    yield Operation("moments", f"moments {about}", gather, gathered, moved=x.nbytes)
    pieces = kernels.activate(step, random_map((1, rows + 2 * step.halo // grown, width, step.inputs), dtype), affine)
    pieces = kernels.span(pieces, 0, rows * grown + 2 * step.halo)
    skip, how = None, step.spread
    if how is not None:
        carried, small = random_map((1, rows, width, step.skip), dtype), pixels // step.stride**2
        yield Operation(
            "spread", f"spread {about}", lambda: kernels.spread(how, carried), space.spread(how, small, itemsize)
        )
    if step.closes:
        tall, wide = (side * step.factor // step.stride for side in (rows, width))
        added = random_map((1, tall, wide, step.skip if how is None else step.outputs), dtype)
        skip = kernels.beside([(added, 0, tall)])
    convolved = pixels * step.factor**2 * step.outputs * itemsize
    convolved += space.conv(step, rows * grown, width * grown, itemsize)
    yield Operation(
        "conv",
        f"conv {about}",
        lambda: kernels.conv(step, weights, pieces, skip),
        convolved,
        step_flops(step, pixels, space.taps(step)),
        moved_bytes(step, pixels, itemsize),
    )
