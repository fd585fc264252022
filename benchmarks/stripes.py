"""One picture in stripes on 1, 2 and 4 workers of this machine: seconds of each kind of task, and bytes moved.

They are printed beside those of the model (`planner/forecast.py`). With ``--model`` nothing runs: it prints what the
model says of larger clusters, for docs/clusters.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.cluster import saved
from benchmarks.crowds import printed
from zvae_tiled import demo
from zvae_tiled.cluster import run_striped
from zvae_tiled.cluster.extra import distributed
from zvae_tiled.cluster.local import local_workers
from zvae_tiled.devices.here import this_device
from zvae_tiled.order import Order, run
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.striped_plan import StripedPlan
from zvae_tiled.planner.stripes import reads, split
from zvae_tiled.planner.traffic import traffic
from zvae_tiled.report.environment import environment
from zvae_tiled.vae import VAE
from zvae_tiled.wording import size

LENGTH = "distributed.scheduler.dashboard.status.task-stream-length"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1024, help="the picture's side in pixels")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--model", action="store_true")
    given = parser.parse_args()
    if given.model:
        print(printed())
        return
    facts = environment("cpu")
    versions = {**facts["versions"], "distributed": metadata.version("distributed")}
    print(f"{facts['processor']}, {facts['cores']} cores, kernels {facts['kernels']}, {versions}, {facts['day']}")
    with tempfile.TemporaryDirectory() as folder:
        (latents,) = saved(Path(folder), 1, given.side // 8)
        order = Order("decode", str(demo.FOLDER), str(latents), f"{folder}/picture.npy")
        seconds, whole = alone(order)
        print(f"one process: {seconds:.2f} s")
        for count in given.workers:
            print(f"\n{count} workers of this machine: ", end="")
            measured(order, count)
            assert np.array_equal(np.load(order.target), whole)


def alone(order: Order) -> tuple[float, Any]:
    """Return the seconds of one process, and the picture."""
    vae = VAE.load(order.vae, order.dtype)
    run(order, vae)
    start = time.perf_counter()
    run(order, vae)
    return time.perf_counter() - start, np.load(order.target)


def measured(order: Order, count: int) -> None:
    """Print what the picture takes on workers of this machine."""
    distributed()  # before its settings are changed: they would be lost with the change
    import dask

    with dask.config.set({LENGTH: 1 << 20}), local_workers(count) as client:
        run_striped(order, client)  # workers load the VAE
        client.get_task_stream()
        before, start = client.run(incoming), time.perf_counter()
        report = run_striped(order, client)
        seconds = time.perf_counter() - start
        told = [each for each in client.get_task_stream() if kind_of(each["key"])]
        last = max(told, key=lambda each: each["startstops"][-1]["stop"])["key"].split("-")[1]
        told = [each for each in told if each["key"].split("-")[1] == last]
        moved = Counter[str]()
        for address, log in client.run(incoming).items():
            for keys in log[len(before[address]) :]:
                for key, number in keys.items():
                    moved[kind_of(key)] += number
    plan = report.plan
    model = traffic(striped(plan, count), count)
    print(f"{seconds:.2f} s, of which a worker computes {plan.predicted_seconds:.2f} s by the plan")
    for kind in sorted({kind_of(each["key"]) for each in told}):
        spans = [spent(each, "compute") for each in told if kind_of(each["key"]) == kind]
        text = f"  {kind:9} {len(spans):5} tasks, {sum(spans):8.3f} s in all, {1e3 * median(spans):7.2f} ms the median"
        print(text)
    waited = sum(spent(each, "transfer") for each in told)
    print(f"  edges {size(moved['edge'])} (model {size(model.edges)}), keys {size(moved['keys'])}")
    print(f"  (model {size(model.keys)}), {waited:.3f} s of transfers; {len(told)} tasks (model {model.tasks})")


def kind_of(key: Any) -> str:
    """Return what a task of a run does; nothing if the key is of another task."""
    parts = str(key).split("-")
    return parts[2] if parts[0] == "zvae" and len(parts) > 4 else ""


def spent(task: dict[str, Any], action: str) -> float:
    """Return the seconds of a task's action."""
    return float(sum(each["stop"] - each["start"] for each in task["startstops"] if each["action"] == action))


def incoming(dask_worker: Any) -> list[dict[str, int]]:
    """Return the bytes of what this worker got from others, by the keys of each message."""
    return [
        {str(key): int(number) for key, number in each["keys"].items()} for each in dask_worker.transfer_incoming_log
    ]


def striped(plan: Plan, count: int) -> StripedPlan:
    """Return the stripes of a plan."""
    case = plan.case
    stripes = split(case.height, count)
    workspace = this_device(VAE.demo(case.dtype).dtype).workspace
    return StripedPlan(plan, tuple(stripes), reads(workspace, case.chain, plan.pixels, stripes))


if __name__ == "__main__":
    main()
