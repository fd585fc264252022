"""The native CPU kernels: every kind of Step against what the CPU could do, and whole decodes against diffusers.

``python -m benchmarks.native steps [path ...]``: GFLOP/s a Step and its share of the ceiling, on one thread, by its
CPU time, so that other work on the machine does not count.
``python -m benchmarks.native decode PYTHON [pixels ...]``: warm decodes by this package and by diffusers in turn, each
in a process of its own; PYTHON is an interpreter that has torch and diffusers.

``python -m benchmarks.native paths [pixels]``: CPU seconds of a warm decode by every path, and by MLX's own kernels.

All write what they find into docs/performance.md.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import describe
from zvae_tiled import VAEConfig
from zvae_tiled.chain import Step, decoder_chain
from zvae_tiled.kernels.calibrate import distinct_steps
from zvae_tiled.kernels.native import BFLOAT16, FASTEST_FIRST, native_status, native_workspace
from zvae_tiled.kernels.native_library import Library, open_library
from zvae_tiled.kernels.native_rows import NativeKernels
from zvae_tiled.plan.cost import Costs, Size
from zvae_tiled.plan.device import CPU
from zvae_tiled.plan.workspace import block_rows

import mlx.core as mx  # isort: skip, after zvae_tiled: it loads the BLAS

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
ROWS, LATENT_WIDTH = 16, 128
RUNS, PAIRS = 5, 3

OURS = """
import json, sys, numpy as np, mlx.core as mx
from mlx.utils import tree_map
from zvae_tiled import VAE, VAEConfig
from zvae_tiled.model import DecoderOnly
order = json.loads(sys.argv[1])
dtype = getattr(mx, order["dtype"])
config = VAEConfig.preset("z-image")
model = DecoderOnly(config)
model.update(tree_map(lambda array: array.astype(dtype), model.parameters()))
mx.eval(model.parameters())
vae = VAE(config, model, dtype)
side = order["pixels"] // 8
latents = np.random.default_rng(0).standard_normal((1, 16, side, side)).astype(np.float32)
plan = vae.plan(order["pixels"], order["pixels"], order["budget"])
weights = vae.weight_bytes
decode = lambda: mx.eval(vae.decode(latents, "NCHW", plan=plan))
"""

THEIRS = """
import json, sys, torch
from diffusers import AutoencoderKL
order = json.loads(sys.argv[1])
torch.set_num_threads(order["threads"])
torch.set_grad_enabled(False)
names = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
vae = AutoencoderKL(block_out_channels=[128, 256, 512, 512], layers_per_block=2, latent_channels=16,
    use_quant_conv=False, use_post_quant_conv=False, **names)
vae = vae.to(getattr(torch, order["dtype"])).to(memory_format=torch.channels_last).eval()
del vae.encoder
side = order["pixels"] // 8
latents = torch.randn(1, 16, side, side, dtype=vae.dtype).to(memory_format=torch.channels_last)
weights = sum(p.numel() * p.element_size() for p in vae.parameters())
decode = lambda: vae.decode(latents).sample
"""

MEASURE = """
import gc, re, time
decode()
gc.collect()
def memory(name):
    return int(re.search(name + r":\\s*(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
start, worked = time.perf_counter(), time.process_time()
decode()
seconds = [time.perf_counter() - start, time.process_time() - worked]
print(json.dumps([seconds[0], memory("VmHWM") - before + weights, seconds[1]]))
"""


def steps(paths: list[str]) -> str:
    """Return the table of Steps."""
    library = open_library()
    if isinstance(library, str):
        sys.exit(library)
    chain = decoder_chain(VAEConfig.preset("z-image"))
    factors = dict(zip(chain.steps, chain.factors, strict=False))
    widest = {one: max(factors[step] for step in chain.steps if same(one, step)) for one in distinct_steps(chain)}
    chosen = paths or [name for name in native_status().runs if name in library.fast]
    ceilings = {path: best(lambda path=path: library.peak(path, 1 << 20)) for path in chosen}  # type: ignore[misc]
    lines = [
        "| Step | width | " + " | ".join(chosen) + " |",
        "|---|---:|" + "---:|" * len(chosen),
        "| *registers alone* | | " + " | ".join(f"{ceilings[path]:,.0f}" for path in chosen) + " |",
    ]
    for step, factor in widest.items():
        width = LATENT_WIDTH * factor
        speeds = [speed(library, path, step, width) for path in chosen]
        shares = [f"{speed:,.0f} ({speed / ceilings[path]:.0%})" for speed, path in zip(speeds, chosen, strict=True)]
        lines.append(f"| {label(step)} | {width} | " + " | ".join(shares) + " |")
    return "GFLOP/s on one thread, bands of 16 rows, and the share of what registers alone reach.\n\n" + "\n".join(
        lines
    )


def same(one: Step, step: Step) -> bool:
    """Tell whether two Steps differ in names alone."""
    fields = ("kind", "inputs", "outputs", "kernel", "upsample", "closes", "skip")
    return all(getattr(one, name) == getattr(step, name) for name in fields)


def label(step: Step) -> str:
    kind = "attention" if step.kind == "attention" else f"{step.kernel}×{step.kernel}"
    more = ", folded ×2" if step.upsample else ", + shortcut" if step.shortcut else ", + skip" if step.closes else ""
    return f"{kind} {step.inputs} → {step.outputs}{more}"


def speed(library: Library, path: str, step: Step, width: int) -> float:
    """Return GFLOP/s of one Step on a band."""
    dtype = mx.bfloat16 if path in BFLOAT16 else mx.float32
    kernels = NativeKernels(dtype, library.runs[path], native_workspace(library.runs[path], 1))
    names = ("to_q", "to_k", "to_v", "to_out.0")
    shapes: dict[str, tuple[int, ...]] = {"weight": (step.outputs, step.kernel, step.kernel, step.inputs)}
    if step.kind == "attention":
        shapes = {f"{name}.weight": (step.outputs, step.inputs) for name in names}
    if step.shortcut:
        shapes["shortcut.weight"] = (step.outputs, 1, 1, step.skip)
    weights = {name: random(shape, dtype) for name, shape in shapes.items()}
    weights |= {name.replace("weight", "bias"): random(shape[:1], dtype) for name, shape in shapes.items()}
    ready = kernels.prepare(step, weights)
    norm = kernels.affine(*(mx.ones(step.inputs) for _ in range(2)))  # type: ignore[arg-type]
    x = random((1, ROWS + 2 * step.halo, width, step.inputs), dtype)
    if step.kind == "attention":
        block = random((1, block_rows(width), width, 2 * step.inputs), dtype)
        pixels = ROWS * width
        flops = 4 * pixels * step.inputs * (step.inputs + block.size // step.inputs // 2)
        return best(lambda: kernels.attend(step, ready, x, norm, iter([block])) is None or flops)
    pieces = kernels.activate(step, x, norm if step.norm else None)
    skip = random((1, ROWS, width, step.skip), dtype) if step.closes else None
    one = decoder_chain(VAEConfig.preset("z-image"))
    costs = Costs(type(one)((step,), one.groups), Size(ROWS, width, dtype.size), CPU)
    return best(lambda: kernels.conv(step, ready, pieces, skip) is None or costs.flops(0))


def best(work: Callable[[], int]) -> float:
    """Return GFLOP/s of the fastest of some runs, by this thread's own time."""
    found = 0.0
    for _ in range(RUNS):
        start = time.thread_time()
        flops = work()
        found = max(found, flops / (time.thread_time() - start) / 1e9)
    return found


def random(shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
    x = (0.1 * mx.random.normal(shape)).astype(dtype)
    mx.eval(x)
    return x


def decodes(python: str, sizes: list[int]) -> str:
    """Return the table of whole decodes."""
    status = native_status()
    lines = [
        f"Warm decodes, {status.threads} threads, kernels {status.path}; diffusers in full, channels-last. Medians of "
        f"{PAIRS} pairs in turn up to 512², one pair above; memory is the process's high-water mark above what it held "
        "before, and the weights.",
        "",
        "| picture | type | diffusers, s | MB | zvae_tiled, s | MB | time | memory |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for pixels in sizes:
        for dtype in ("bfloat16", "float32"):
            order: dict[str, object] = {"pixels": pixels, "dtype": dtype, "budget": "1.5GB", "threads": status.threads}
            pairs = [
                (child(python, THEIRS, order), child(sys.executable, OURS, order))
                for _ in range(PAIRS if pixels <= 512 else 1)
            ]
            theirs, ours = ([statistics.median(pair[i][j] for pair in pairs) for j in (0, 1)] for i in (0, 1))
            lines.append(
                f"| {pixels}² | {dtype} | {theirs[0]:.1f} | {theirs[1] / 1e6:,.0f} | {ours[0]:.1f} | "
                f"{ours[1] / 1e6:,.0f} | {ours[0] / theirs[0]:.2f}× | {ours[1] / theirs[1]:.2f}× |"
            )
            print(lines[-1], flush=True)
    return "\n".join(lines)


def by_path(pixels: int) -> str:
    """Return the table of decodes by path."""
    status = native_status()
    chosen = ["mlx", *(path for path in reversed(status.runs) if path in FASTEST_FIRST[:-1])]
    lines = [
        f"CPU seconds, of all threads together, of a warm decode of {pixels}².",
        "",
        "| type | " + " | ".join(chosen) + " |",
        "|---|" + "---:|" * len(chosen),
    ]
    for dtype in ("bfloat16", "float32"):
        order: dict[str, object] = {"pixels": pixels, "dtype": dtype, "budget": "1.5GB"}
        seconds = []
        for path in chosen:
            os.environ["ZVAE_KERNELS"] = path
            seconds.append(child(sys.executable, OURS, order)[2])
        del os.environ["ZVAE_KERNELS"]
        lines.append(f"| {dtype} | " + " | ".join(f"{each:.1f} ({each / seconds[0]:.2f}×)" for each in seconds) + " |")
    return "\n".join(lines)


def child(python: str, code: str, order: dict[str, object]) -> list[float]:
    command = [python, "-c", code + MEASURE, json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, cwd=PAGE.parent.parent)
    if done.returncode:
        sys.exit(done.stderr)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def write(name: str, text: str) -> None:
    """Put a table between its marks on the page."""
    page = PAGE.read_text()
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    head, _, rest = page.partition(begin)
    _, _, tail = rest.partition(end)
    PAGE.write_text(f"{head}{begin}\n{text}\n\n({describe()})\n\n{end}{tail}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["steps"]:
        table = steps(sys.argv[2:])
    elif sys.argv[1:2] == ["decode"] and len(sys.argv) > 2:
        table = decodes(sys.argv[2], [int(pixels) for pixels in sys.argv[3:]] or [512, 1024, 2048])
    elif sys.argv[1:2] == ["paths"]:
        table = by_path(int(sys.argv[2]) if len(sys.argv) > 2 else 256)
    else:
        sys.exit(__doc__)
    print(table)
    write(sys.argv[1], table)
