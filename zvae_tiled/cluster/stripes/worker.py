"""What a worker does for a striped picture: it computes on its part of the machine, with the VAE that it holds."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from zvae_tiled.cluster.extra import distributed
from zvae_tiled.cluster.share import Share
from zvae_tiled.cluster.stripes.machine import Machine, for_all, this_machine
from zvae_tiled.cluster.stripes.sweep import Engine
from zvae_tiled.cluster.work import held, portable
from zvae_tiled.devices.counted import active_memory, peak_memory, reset_peak
from zvae_tiled.devices.heap import Ceiling
from zvae_tiled.devices.here import kernels_for, this_device
from zvae_tiled.errors import ZvaeError
from zvae_tiled.jobs.job import norms
from zvae_tiled.jobs.limits import limits
from zvae_tiled.order import Order
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.striped_plan import StripedPlan, striped_plan
from zvae_tiled.shortage import THERE, shortages


def engine_of(order: Order) -> Engine:
    """Return what this worker computes an order with."""
    vae = held(order)
    chain = vae.config.chain(order.task)
    return Engine(chain, kernels_for(this_device(vae.dtype), vae.dtype), vae.weights, norms(chain, vae.weights))


def described(run: str) -> tuple[Machine, Share]:
    """Return what this member of a run is, and its part of its machine."""
    from zvae_tiled.cluster.membership import member_of

    return this_machine(), member_of(run).share


def planned(
    order: Order,
    height: int,
    width: int,
    workers: int,
    count: int,
    budget: int,
    together: int,
    machines: Collection[Machine],
) -> StripedPlan:
    """Plan a picture for workers on these machines. The other arguments are those of `striped_plan`."""
    vae = held(order)
    device = for_all(this_device(vae.dtype), machines)
    case = Case(vae.config, height, width, device.name, order.dtype, output="rows", task=order.task)
    return striped_plan(case, device, workers, count, budget, vae.weight_bytes, together)


def peak_of(run: str) -> int:
    """Return the most bytes in use during a task of a run on this worker, with weights and what the worker holds."""
    from zvae_tiled.cluster.membership import member_of

    return member_of(run).peak


def limited(run: str, plan: Plan, task: Callable[..., Any], *options: Any) -> Any:
    """Carry a task out within the plan's memory.

    Args:
        run: The run's name.
        plan: The plan.
        task: The task.
        options: Its arguments.

    Raises:
        ZvaeError: It failed, or the weights have changed.
        OutOfMemoryError: Memory ran out.
        RuntimeError: It failed by an error that cannot be sent.
    """
    from zvae_tiled.cluster.membership import member_of

    member = member_of(run)
    member.check_weights()
    worker = distributed().get_worker()
    room = max(0, plan.predicted_peak - active_memory() - PROCESS // 2)
    reset_peak()
    try:
        with limits(plan, Ceiling(room)), shortages(f"{worker.address} computed a stripe", THERE):
            result = task(*options)
        member.check_weights()  # the task may have loaded them
        return result
    except ZvaeError:
        raise
    except Exception as error:
        raise portable(error) from None
    finally:
        member.peak = max(member.peak, peak_memory())
