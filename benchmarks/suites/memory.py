"""Measures the allocator's peak for families, sizes, types, budgets and qualities, to compare it with baselines."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from shutil import rmtree

from benchmarks.case import Case
from benchmarks.published import FIRST, SMALL
from benchmarks.runner import Group
from benchmarks.weights import save_random_vae
from zvae_tiled.devices.here import device_kind
from zvae_tiled.devices.native_cpu.choice import native_status
from zvae_tiled.families import config_of

NARROW = (16, 32, 32, 32)
"""Widths of a VAE that decodes in seconds without a BLAS. Its maps are larger than its weights, as in a real VAE."""

ENVIRONMENT = (("ZVAE_KERNELS", "mlx"), ("ZVAE_THREADS", "2"), ("ZVAE_CACHE", "/nonexistent"))
"""Fixed kernels, a fixed number of threads, and no calibration, because each of them changes plans."""

PUBLISHED = (*FIRST, SMALL)

PORTABLE = "portable"
"""The native path that every CPU can run. Other native paths differ only in the sizes of tiles and blocks."""


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield each case as its own group, because bytes do not depend on earlier cases."""
    del large
    for case in filter(_runs_here, matrix(quick)):
        yield Group((case,))
    for preset in PUBLISHED:
        # Weights are loaded, as by a user: a file may hold more than a decode needs, and Qwen-Image's does.
        model = save_random_vae(config_of(preset), folder / preset)
        for case in filter(_runs_here, published(preset, quick)):
            yield Group((case,), model)
        rmtree(model)


def _runs_here(case: Case) -> bool:
    return not case.kernels or (device_kind() == "cpu" and case.kernels in native_status().runs)


def cases(quick: bool) -> Iterator[Case]:
    """Yield all cases."""
    yield from matrix(quick)
    for preset in PUBLISHED:
        yield from published(preset, quick)


def published(preset: str, quick: bool) -> Iterator[Case]:
    """Yield decodes and encodes of a VAE of published width."""
    case = partial(Case, "memory", family=preset)
    for tool, label in (("ours", "zvae_tiled"), ("ours_encode", "encode")):
        native = partial(case, tool, 64, 96, label=label, kernels=PORTABLE)
        yield native(budget="least")
        yield native(dtype="float32")
        yield case(tool, 32, 32, label=label, budget="least")
        if not quick:
            for budget in ("ample", "least"):
                yield case(tool, 192, 256, budget=budget, label=label, kernels=PORTABLE)


def matrix(quick: bool) -> Iterator[Case]:
    """Yield cases of AutoencoderKL. The quick ones take less than three minutes on two slow cores without a BLAS."""
    narrow = partial(Case, "memory", "ours", widths=NARROW)
    for dtype in ("bfloat16", "float32"):
        for budget in ("ample", "middle", "least"):
            yield narrow(256, 192, dtype, budget=budget)
    for dtype in ("bfloat16", "float32"):  # bands take most of the memory
        yield narrow(32, 1024, dtype, budget="least")
    yield narrow(128, 320, "float16", batch=2)
    yield narrow(128, 320, "float16", batch=2, budget="least")
    for family in ("sd1", "sd3"):
        yield narrow(192, 128, family=family, budget="least")
    for options in (
        {"quality": "stream"},
        {"quality": "tiles", "tile": 64, "overlap": 16, "moments": "tile"},
    ):
        for budget in ("ample", "least"):
            yield narrow(128, 192, budget=budget, options=options)
    for budget in ("ample", "least"):
        yield Case("memory", "ours_encode", 192, 128, "float32", widths=NARROW, budget=budget, label="encode")
    for dtype in ("bfloat16", "float32"):
        for budget in ("ample", "least"):
            yield narrow(256, 192, dtype, budget=budget, kernels=PORTABLE)
        yield Case("memory", "ours", 32, 32, dtype, budget="least", kernels=PORTABLE)
    yield narrow(32, 1024, budget="least", kernels=PORTABLE)
    yield Case("memory", "ours", 32, 32)
    yield Case("memory", "ours", 32, 32, "float32", budget="least")
    if quick:
        return
    for budget in ("ample", "least"):  # half a minute each
        yield narrow(128, 192, budget=budget, options={"quality": "tiles", "tile": 64, "overlap": 16})
    for dtype in ("bfloat16", "float32"):
        for budget in ("ample", "middle", "least"):
            yield Case("memory", "ours", 256, 256, dtype, budget=budget)
    for family in ("flux1", "sd1", "sdxl"):
        yield Case("memory", "ours", 128, 256, family=family)
    yield Case("memory", "ours", 256, 256, options={"quality": "tiles", "tile": 128, "overlap": 32, "moments": "tile"})
    yield Case("memory", "ours", 192, 192, options={"quality": "stream"})
