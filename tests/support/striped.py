"""Pictures computed stripe by stripe in one process, with all that workers would send one another."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from zvae_tiled import VAE, Plan
from zvae_tiled.cluster.stripes.picture import Picture
from zvae_tiled.cluster.stripes.piece import Piece
from zvae_tiled.cluster.stripes.sweep import Engine
from zvae_tiled.devices.here import kernels_for, this_device
from zvae_tiled.devices.native_cpu.arrays import mlx_of
from zvae_tiled.jobs.job import Job, norms
from zvae_tiled.planner.region import Rows
from zvae_tiled.planner.striped_plan import StripedPlan
from zvae_tiled.planner.stripes import reads, split


class Here:
    """This process carries the tasks out: a handle is the result itself."""

    def do(self, stripe: int, name: str, task: Callable[..., Any], *options: Any) -> Any:
        del stripe, name
        return task(*options)

    def get(self, handles: Sequence[Any]) -> list[Any]:
        return list(handles)


class Sent(Here):
    """This process, but every argument and every result is pickled on its way, as between workers."""

    def do(self, stripe: int, name: str, task: Callable[..., Any], *options: Any) -> Any:
        return sent(super().do(stripe, name, task, *map(sent, options)))


def sent(value: Any) -> Any:
    if callable(value):
        return value
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer.raw()) for buffer in buffers])


def in_stripes(vae: VAE, plan: Plan, count: int) -> StripedPlan:
    """A plan of one picture, in stripes."""
    stripes, device = split(plan.case.height, count), this_device(vae.dtype)
    return StripedPlan(plan, tuple(stripes), reads(device.workspace, plan.case.chain, plan.pixels, stripes))


def striped_rows(vae: VAE, job: Job, planned: StripedPlan, hands: Here) -> mx.array:
    """The finished rows of a job of one picture, (1, H, W, C)."""
    chain = planned.plan.case.chain
    engine = Engine(chain, kernels_for(this_device(vae.dtype), vae.dtype), vae.weights, norms(chain, vae.weights))
    ready = job._ready(0)
    picture = Picture(chain, planned.plan.pixels, planned.stripes, planned.reads, hands, lambda: engine)
    pieces = picture.rows(Piece(Rows(0, ready.shape[1]), [ready]))
    return mx.concatenate([job._finish(mlx_of(strip)) for piece in pieces for strip in piece.value], axis=1)
