"""Compares each Step of the native CPU kernels with the limit of the CPU: the table of docs/performance.md.

    python -m benchmarks.steps [path ...]

GFLOP/s count the taps, on one thread, by its CPU time, so that other work on the machine does not matter. Squares
need fewer products (native/squares.h), so they can exceed the limit of the registers.
The attention's count its two products and the projections of queries and result.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path

from benchmarks.machine import describe
from zvae_tiled.chain import ATTENTION, Chain, Step
from zvae_tiled.devices.calibrate import distinct_steps
from zvae_tiled.devices.native_cpu.choice import BFLOAT16, native_status, native_workspace
from zvae_tiled.devices.native_cpu.kernels import NativeKernels
from zvae_tiled.devices.native_cpu.library import Library, open_library
from zvae_tiled.devices.workspace import block_rows
from zvae_tiled.families import config_of
from zvae_tiled.planner.cost import step_flops

import mlx.core as mx  # isort: skip, after zvae_tiled: it loads the BLAS

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
ROWS, LATENT_WIDTH = 16, 128
RUNS = 5


def steps(paths: list[str]) -> str:
    """Return the table of Steps."""
    library = open_library()
    if isinstance(library, str):
        sys.exit(library)
    chain = config_of("z-image").chain("decode")
    widest = widest_of(chain)
    shown = paths or [name for name in native_status().runs if name in library.fast]
    ceilings = {path: best(lambda path=path: library.peak(path, 1 << 20)) for path in shown}  # type: ignore[misc]
    lines = [
        "| Step | width | " + " | ".join(shown) + " |",
        "|---|---:|" + "---:|" * len(shown),
        "| *registers alone* | | " + " | ".join(f"{ceilings[path]:,.0f}" for path in shown) + " |",
    ]
    for step, factor in widest.items():
        width = LATENT_WIDTH * factor
        speeds = [speed(library, path, step, width) for path in shown]
        shares = [f"{speed:,.0f} ({speed / ceilings[path]:.0%})" for speed, path in zip(speeds, shown, strict=True)]
        lines.append(f"| {label(step)} | {width} | " + " | ".join(shares) + " |")
    return "GFLOP/s on one thread, bands of 16 rows, and the share of what registers alone reach.\n\n" + "\n".join(
        lines
    )


def widest_of(chain: Chain) -> dict[Step, int]:
    """Return every kind of Step, and the factor of the widest map that it reads."""
    factors = dict(zip(chain.steps, chain.factors, strict=False))
    return {one: max(factors[step] for step in chain.steps if same(one, step)) for one in distinct_steps(chain)}


def same(one: Step, step: Step) -> bool:
    """Return whether two Steps differ only in their names."""
    fields = ("kind", "inputs", "outputs", "kernel", "upsample", "skip")
    alike = all(getattr(one, name) == getattr(step, name) for name in fields)
    return alike and (one.shortcut is None) == (step.shortcut is None)


def label(step: Step) -> str:
    kind = "attention" if step.kind == "attention" else f"{step.kernel}×{step.kernel}"
    more = ", folded ×2" if step.upsample else ", + shortcut" if step.shortcut else ", + skip" if step.closes else ""
    return f"{kind} {step.inputs} → {step.outputs}{more}"


def speed(library: Library, path: str, step: Step, width: int) -> float:
    """Return the GFLOP/s of one Step on a band."""
    dtype = mx.bfloat16 if path in BFLOAT16 else mx.float32
    kernels = NativeKernels(dtype, library.runs[path], native_workspace(library.runs[path], 1))
    shapes: dict[str, tuple[int, ...]] = {"weight": (step.outputs, step.kernel, step.kernel, step.inputs)}
    if step.kind == "attention":
        shapes = {f"{name}.weight": (step.outputs, step.inputs) for name in ATTENTION}
    if step.shortcut:
        shapes["shortcut.weight"] = (step.outputs, 1, 1, step.skip)
    weights = {name: random(shape, dtype) for name, shape in shapes.items()}
    weights |= {name.replace("weight", "bias"): random(shape[:1], dtype) for name, shape in shapes.items()}
    ready = kernels.prepare(step, weights)
    norm = kernels.affine(*(mx.ones(step.inputs) for _ in range(2)))  # type: ignore[arg-type]
    x = random((1, ROWS + 2 * step.halo, width, step.inputs), dtype)
    if step.kind == "attention":  # of a square map, whose keys are blocks that are alike
        block = random((1, block_rows(width), width, 2 * step.inputs), dtype)
        blocks = width // block_rows(width)
        flops = 4 * ROWS * width * step.inputs * (step.inputs + blocks * block_rows(width) * width)
        return best(lambda: kernels.attend(step, ready, x, norm, repeat(block, blocks)) is None or flops)
    pieces = kernels.activate(step, x, norm if step.norm else None)
    skip = kernels.beside([(random((1, ROWS, width, step.skip), dtype), 0, ROWS)]) if step.closes else None
    flops = step_flops(step, ROWS * width, 16 if step.upsample else step.kernel**2)
    return best(lambda: kernels.conv(step, ready, pieces, skip) is None or flops)


def best(work: Callable[[], int]) -> float:
    """Return the GFLOP/s of the fastest run, by the CPU time of this thread."""
    fastest = 0.0
    for _ in range(RUNS):
        start = time.thread_time()
        flops = work()
        fastest = max(fastest, flops / (time.thread_time() - start) / 1e9)
    return fastest


def random(shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
    x = (0.1 * mx.random.normal(shape)).astype(dtype)
    mx.eval(x)
    return x


def main() -> None:
    """Write the table between its marks on the page."""
    table = steps(sys.argv[1:])
    print(table)
    head, begin, rest = PAGE.read_text().partition("<!-- steps: begin -->\n")
    _, end, tail = rest.partition("<!-- steps: end -->")
    PAGE.write_text(f"{head}{begin}\n{table}\n\n({describe()})\n\n{end}{tail}")


if __name__ == "__main__":
    main()
