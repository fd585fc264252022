"""Silent failures: a device that computes something else is caught, but for what docs/exactness.md says is not seen."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import mlx.core as mx

from tests.campaign.part import Case, Part
from tests.engine.faults import CONFIG, KEPT, MLX, NATIVE, Victim
from tests.kernels.native import PATHS, kernels_of, types_of
from tests.support.plans import random_config
from zvae_tiled.devices.mlx_cpu.kernels import RowKernels
from zvae_tiled.devices.mlx_gpu.kernels import StripKernels
from zvae_tiled.devices.native_cpu.library import Conv, Moments

Fault = tuple[Any, str, float]
"""A kind of call, its fault, and how many calls of the kind get it, from the one that is struck on."""

UNSEEN = {(Conv, "another bias"), (Moments, "one other value")}
"""Faults of native calls that the page of exactness says are not seen: intact, and plausible."""

UNSEEN_BY_MLX = {
    *((method, fault) for method in MLX if method != "moments" for fault in ("one flat value", "a flat row")),
    *((method, "one other value") for method in MLX),
    ("prepare", "a row of zeros"),
}
"""The same of MLX's calls, which do not report what they wrote."""

NATIVE_FAULTS: list[Fault] = [
    (call, fault, times) for call, faults in NATIVE.items() for fault in faults for times in (1, math.inf)
]
MLX_FAULTS: list[Fault] = [
    (call, fault, times) for call, faults in MLX.items() for fault in faults for times in (1, math.inf)
]
KEPT_FAULTS: list[Fault] = [("activate", KEPT, times) for times in (1, math.inf)]

EACH = [
    *(("native", fault) for fault in [*NATIVE_FAULTS, *KEPT_FAULTS] if PATHS),
    *(("rows", fault) for fault in [*MLX_FAULTS, *KEPT_FAULTS]),
]
"""Every fault, once on native kernels and once on MLX's: each case puts it into every call of a decode in turn."""


def each(case: Case) -> int:
    """Put a fault into every call of its kind in a small decode."""
    kernels, (target, fault, times) = EACH[case.number * 31 % len(EACH)]
    outcomes = _decode(kernels).outcomes(target, fault, times, most=1 << 30)
    if "silent" in outcomes:
        assert _unseen(target, fault), f"{kernels}, {target}, {fault!r} in {times} calls: {dict(outcomes)}"
    return outcomes.total()


@cache
def _decode(kernels: str) -> Victim:
    return Victim(RowKernels(mx.float32) if kernels == "rows" else kernels_of(PATHS[-1], mx.bfloat16), "decode")


def other(case: Case) -> int:
    """Put some faults into calls of another decode or encode: another model, path, type and size."""
    rng = case.rng
    path = rng.choice([*PATHS, "rows", "strips"])
    if path in PATHS:
        dtype = rng.choice(types_of(path))
        kernels, faults = kernels_of(path, dtype, rng.randint(1, 3)), [*NATIVE_FAULTS, *KEPT_FAULTS]
    else:
        kernels, faults = {"rows": RowKernels, "strips": StripKernels}[path](mx.float32), [*MLX_FAULTS, *KEPT_FAULTS]
    seed = rng.getrandbits(31)
    if rng.random() < 0.2:  # with sampled keys, of which there must be more than 64
        victim = Victim(kernels, "decode", size=(rng.randint(8, 10), rng.randint(9, 12)), seed=seed, keys=64)
    else:
        victim = Victim(kernels, rng.choice(["decode", "encode"]), config=_config(rng), size=_size(rng), seed=seed)
    struck = 0
    while struck < 20:
        target, fault, times = rng.choice(faults)
        if not victim.calls[target]:
            continue
        number = rng.randrange(victim.calls[target])
        outcome = victim.outcome(target, number, fault, times)
        told = f"{path}, {kernels.dtype}, {target} {number}, {fault!r} in {times} calls"
        assert outcome != "silent" or _unseen(target, fault), told
        struck += 1
    return struck


def _config(rng: Random) -> Any:
    drawn = random_config(rng, narrowest=4)
    return rng.choice([CONFIG, replace(drawn, in_channels=3, out_channels=3)])


def _size(rng: Random) -> tuple[int, int]:
    return rng.randint(3, 7), rng.randint(4, 9)


def _unseen(target: Any, fault: str) -> bool:
    return fault == KEPT or (target, fault) in (UNSEEN_BY_MLX if isinstance(target, str) else UNSEEN)


PARTS = (
    Part(
        "each",
        "one fault after the other in every call of two small decodes, by native kernels and by MLX's",
        6_000,
        60,
        each,
    ),
    Part(
        "other",
        "faults in random calls of decodes and encodes by other models, paths, types and sizes",
        2_000,
        40,
        other,
    ),
)
