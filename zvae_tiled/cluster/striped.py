"""`run_striped`: one exact picture by many workers, each of which has stripes of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from zvae_tiled.checks import shown, whole
from zvae_tiled.cluster.arguments import check_allowed, check_client
from zvae_tiled.cluster.crew import Crew, crew
from zvae_tiled.cluster.dask_limit import named
from zvae_tiled.cluster.extra import hushed
from zvae_tiled.cluster.ready import model_of, ready
from zvae_tiled.cluster.stripes.job import StripedDecode, StripedEncode
from zvae_tiled.cluster.stripes.turn import turn
from zvae_tiled.cluster.stripes.worker import described, engine_of, planned
from zvae_tiled.cluster.stripes.workers import UNFINISHED, Workers, fetched
from zvae_tiled.cluster.watch import Watch
from zvae_tiled.errors import InputError
from zvae_tiled.files.protect import Source, check_outputs
from zvae_tiled.inputs.images import read_images
from zvae_tiled.inputs.latents import read_latents
from zvae_tiled.jobs.decode import scaled_of, texts_of
from zvae_tiled.jobs.job import Terms
from zvae_tiled.jobs.orders import about, latents_of, load, picture_of, shape_of, write_latents, written
from zvae_tiled.order import Order
from zvae_tiled.planner.budget import Available, parse_budget
from zvae_tiled.planner.quality import Exact
from zvae_tiled.planner.striped_plan import MOST, StripedPlan
from zvae_tiled.report.progress import Listener, listener_of
from zvae_tiled.report.report import Report
from zvae_tiled.vae import VAE


def run_striped(
    order: Order,
    client: Any,
    stripes: int | None = None,
    *,
    progress: bool | Listener = False,
    allow: Sequence[str] = (),
) -> Report:
    """Decode or encode one picture on all workers of a Dask cluster, with the bytes of one machine.

    Workers read the weights, and this process reads what is given and writes the result. If another picture is computed
    in stripes on the cluster, it is waited for.

    Args:
        order: The decode or encode. It must be exact, of one picture.
        client: A ``distributed.Client``.
        stripes: How many stripes the picture is cut into. Default: one for each worker.
        progress: True for a line on the terminal, or a function that takes a `Progress`.
        allow: Differences between workers that are allowed: ``versions``, ``kernels``. Bits may differ then.

    Raises:
        InputError: The order cannot be carried out in stripes, or another argument is invalid. Nothing was started.
        BudgetError: It does not fit into a worker's part of the budget. The error says how many workers would do.
        OutOfMemoryError: Memory ran out, here or on a worker.
        OutputError: The file cannot be written, or is one that is read.
        ClusterError: Workers are missing, are not alike, were all lost, or do not reach each other.
        MissingExtraError: Dask is not installed.
    """
    if not isinstance(order, Order):
        raise InputError(f"order must be an Order, it is {shown(order)}")
    order.check()
    check_striped(order, stripes)
    check_client(client)
    check_allowed(allow)
    listener_of(progress)
    vae = load(order)
    with about(order.source):
        shape = shape_of(order, vae)
        if shape[0] != 1:
            raise InputError(f"one picture is decoded in stripes, the batch has {shape[0]}", "Decode them one by one.")
        paths = written(order, vae, shape)
        check_outputs(paths, (Source.of(Path(order.source)), *vae.sources))
        placed = ready(0, order, shape, paths).order
        terms = Terms(progress=progress)
        with hushed(), turn(client), crew(client, [model_of(placed)], allow, named([placed])) as members:
            plan, hands = _planned(members, placed, shape[1] // vae.config.scale, shape[2] // vae.config.scale, stripes)
            parts = plan, hands, partial(engine_of, placed)
            return _decode(order, vae, terms, *parts) if order.task == "decode" else _encode(order, vae, terms, *parts)


def _decode(order: Order, vae: VAE, terms: Terms, *parts: Any) -> Report:
    latents = latents_of(order)
    inputs = read_latents(latents, vae.config)
    job = StripedDecode(vae, inputs, scaled_of(latents), terms, texts=texts_of(latents))
    job.stripe(*parts)
    return job.write(order.targets, bits=order.bits, overwrite=order.overwrite)


def _encode(order: Order, vae: VAE, terms: Terms, *parts: Any) -> Report:
    picture = picture_of(order, vae, lambda *_: None)
    job = StripedEncode(vae, read_images(picture, vae.config), terms)
    job.stripe(*parts)
    write_latents(order, job.distribution())
    assert job.report is not None
    return job.report


def _planned(members: Crew, order: Order, height: int, width: int, stripes: int | None) -> tuple[StripedPlan, Workers]:
    """Let a member plan for all of them, and give them their stripes. If one ends meanwhile, they need another plan."""
    watch, run = Watch(members), members.name
    watch.assemble(UNFINISHED)
    for attempt in itertools.count():
        homes = sorted(at for at, seen in watch.members.items() if not seen.paused) or sorted(watch.members)
        asked = [members.submit(f"machine-{attempt}.{at}", home, described, run) for at, home in enumerate(homes)]
        machines, shares = zip(*fetched(members, watch, asked), strict=True)
        budget = min(_bytes(share.limited(order)) for share in shares)
        together = max(share.workers for share in shares)
        options = order, height, width, len(homes), stripes or len(homes), budget, together, machines
        future = members.submit(f"planned-{attempt}", homes[0], planned, *options)
        (plan,) = fetched(members, watch, [future])
        watch.assemble(UNFINISHED)
        if watch.members.keys() >= set(homes):
            break
    return plan, Workers(members, watch, homes, plan.plan, len(plan.stripes))


def _bytes(order: Order) -> int:
    assert order.budget is not None, "a worker has a part of the budget"
    return int(order.budget.removesuffix("B"))


def check_striped(order: Order, stripes: int | None = None) -> None:
    """Refuse an order that cannot be carried out in stripes.

    Raises:
        InputError: It is not exact, has a plan or a work folder of one process, or a budget that cannot be read; or
            `stripes` is no number.
    """
    if stripes is not None and ((number := whole(stripes)) is None or not 1 <= number <= MOST):
        raise InputError(f"stripes must be a whole number from 1 to {MOST:,}, it is {shown(stripes)}")
    if order.preview or not isinstance(order.quality, Exact):
        what = "a preview" if order.preview else f'quality="{order.quality.name}"'
        raise InputError(f"stripes are exact, and {what} is asked for", "Decode it in one process.")
    for name in ("plan", "work", "spill_folder", "disk_limit"):
        if getattr(order, name) is not None:
            raise InputError(f"{name} has no effect in stripes", f"Leave out {name}, or the stripes.")
    parse_budget(order.budget, Available(0))  # a worker reads it again, as a part of its own machine
