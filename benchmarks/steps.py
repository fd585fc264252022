"""Compares every Step of Z-Image's decoder with the ceiling of its path, and with oneDNN through torch.

One thread computes, and its processor time counts, so that other work on the machine matters little. Kernels and torch
take turns. A Step is measured on one band, torch on more rows, for it packs its weights at each call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.bands import attention_flops, order, torch_rows, work
from benchmarks.tables import table
from benchmarks.thread_time import Seconds, best_in_turn, seconds_of
from zvae_tiled.chain import Chain, Step
from zvae_tiled.devices.heap import unlimited
from zvae_tiled.devices.native_cpu.choice import cpu_device, native_workspace
from zvae_tiled.devices.native_cpu.kernels import NativeKernels
from zvae_tiled.devices.native_cpu.library import Library, NativePath
from zvae_tiled.devices.native_cpu.memory import NativeWorkspace
from zvae_tiled.devices.operations import distinct_steps
from zvae_tiled.families import config_of
from zvae_tiled.planner.cost import step_flops

import mlx.core as mx  # isort: skip, after zvae_tiled: it loads the BLAS

LATENT_WIDTH = 128
"""Latents of a picture of 1024×1024, on each side."""

Torch = Callable[[dict[str, Any]], float]

HEAD = ("Step", "map", "times", "s", "GFLOP/s", "of ceiling", "inputs", "products", "outputs", "torch s", "ratio")


@dataclass(frozen=True)
class Place:
    """A kind of Step, and a map that it reads in a decode of 1024×1024.

    Attributes:
        step: The Step, without its name.
        width: Columns, and rows, of the map.
        times: How many Steps of the decoder are the same, on maps of this size.
    """

    step: Step
    width: int
    times: int


def places(chain: Chain) -> list[Place]:
    """Return every kind of Step with every size of map that it reads."""
    found = []
    for one in distinct_steps(chain):
        factors = Counter(factor for step, factor in zip(chain.steps, chain.factors, strict=False) if _same(one, step))
        found += [Place(one, LATENT_WIDTH * factor, times) for factor, times in factors.items()]
    return found


def _same(one: Step, step: Step) -> bool:
    """Return whether two Steps differ only in their names."""
    names = ("kind", "inputs", "outputs", "kernel", "upsample", "skip")
    return all(getattr(one, name) == getattr(step, name) for name in names) and bool(one.shortcut) == bool(
        step.shortcut
    )


def ceiling(library: Library, path: str) -> float:
    """Return the products and sums a second that registers reach on one thread, without memory."""
    rounds = 1 << 20
    return max(library.peak(path, rounds) / seconds_of(lambda: library.peak(path, rounds)) for _ in range(5))


def of_squares(path: NativePath | NativeWorkspace) -> int:
    """Return how many times the ceiling holds for squares: int16 has twice the rate of float32."""
    return 2 if path.small == 2 < path.number else 1


def steps(path: NativePath, dtype: mx.Dtype, limit: float, torch: Torch | None) -> str:
    """Return the table of Steps.

    Args:
        path: The path that computes.
        dtype: Type of the maps.
        limit: What `ceiling` returned for the path.
        torch: Returns the seconds that torch takes for an order. Default: none.
    """
    kernels = NativeKernels(dtype, path, native_workspace(path, 1))
    chain = config_of("z-image").chain("decode")
    with unlimited():
        return table(HEAD, [line(place, kernels, limit, torch) for place in places(chain)])


def line(place: Place, kernels: NativeKernels, limit: float, torch: Torch | None) -> list[str]:
    """Measure a Step, and return its line."""
    step, width = place.step, place.width
    rows = cpu_device(kernels.dtype == mx.bfloat16).band_rows // step.factor
    works: dict[str, Seconds] = {"step": _timed(work(kernels, step, rows, width))}
    squared = kernels.workspace.squared(step) is not None
    if squared and step.inputs % 64 == step.outputs % 64 == 0:
        works["half the inputs"] = _timed(work(kernels, replace(step, inputs=step.inputs // 2), rows, width))
        works["half the outputs"] = _timed(work(kernels, replace(step, outputs=step.outputs // 2), rows, width))
    if torch is not None:
        works["torch"] = lambda: torch(order(step, width, kernels.dtype))
    best = best_in_turn(works)
    bands, taken = width / rows, best["step"]
    if step.kind == "attention":
        direct = computed = attention_flops(step, rows, width)
    else:
        direct = step_flops(step, rows * width, step.kernel**2 * step.factor**2)
        computed = step_flops(step, rows * width, kernels.workspace.taps(step))
    top = limit * (of_squares(kernels.workspace) if squared else 1)
    shares = parts(taken, best.get("half the inputs"), best.get("half the outputs"))
    theirs = best["torch"] * width / torch_rows(width) if "torch" in best else None
    return [
        label(step),
        f"{width}²",
        str(place.times),
        f"{taken * bands:.2f}",
        f"{direct / taken / 1e9:,.0f}",
        f"{computed / taken / top:.0%}",
        *("–" if share is None else f"{share:.0%}" for share in shares),
        "–" if theirs is None else f"{theirs:.2f}",
        "–" if theirs is None else f"{taken * bands / theirs:.2f}×",
    ]


def parts(taken: float, half_inputs: float | None, half_outputs: float | None) -> tuple[float | None, ...]:
    """Return the shares of a Step's time that grow with its inputs, with both, and with its outputs.

    With I inputs and O outputs a Step takes a·I + b·I·O + c·O. Two more times give the three.
    """
    if half_inputs is None or half_outputs is None:
        return (None, None, None)
    inputs, outputs = max(2 * half_outputs - taken, 0.0), max(2 * half_inputs - taken, 0.0)
    return inputs / taken, max(1 - (inputs + outputs) / taken, 0.0), outputs / taken


def label(step: Step) -> str:
    """Return a Step in a few words."""
    kind = "attention" if step.kind == "attention" else f"{step.kernel}×{step.kernel}"
    more = ", doubled" if step.upsample else ", + shortcut" if step.shortcut else ", + skip" if step.closes else ""
    return f"{kind} {step.inputs} → {step.outputs}{more}"


def _timed(run: Callable[[], object]) -> Seconds:
    run()
    return lambda: seconds_of(run)
