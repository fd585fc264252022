"""Races zvae_tiled on MLX with diffusers on torch, on this machine's GPU.

    python -m benchmarks.gpu [SIDE ...]

Each decode runs in a process of its own, and the two tools take turns. Both read the same random weights of Z-Image's
size and the same latents. diffusers is torch in channels-last, with and without TF32 in float32. Memory is what each
library's allocator took, and what the driver says that the process holds at its end, which includes the context, the
loaded kernels, and what the allocator keeps. Pictures are compared with diffusers in float64 where it fits.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import Z_IMAGE, Case, Files

RUNS = 3
"""Timed decodes of a process, after one that is not timed."""

REFERENCE_SIDE = 1024
"""Largest picture that is compared with float64: its attention holds all scores at once."""

OURS = [("float32", "ample"), ("bfloat16", "ample"), ("bfloat16", "half")]
THEIRS = [("float32", "no TF32"), ("float32", "TF32"), ("bfloat16", "full")]


def main(sides: list[int]) -> None:
    """Print one table for each size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a child too: MLX and torch, once imported, would hold memory of the card.
        print(_in_child({"tool": "prepare", "folder": name, "sides": sides}), flush=True)
        for side in sides:
            race(side, {"model": str(folder / "model"), "latents": str(folder / f"{side}.npy")}, folder)


def race(side: int, files: dict[str, str], folder: Path) -> None:
    """Measure every tool at one size, and print the rows."""
    print(f"\n{side}×{side}\n")
    print("| tool | type | budget | median s | least–most s | allocator MB | predicted MB | driver MB | rms error |")
    print("|---|---|---|---:|---|---:|---:|---:|---:|")
    reference = None
    orders = [{"tool": "diffusers", "dtype": dtype, "mode": mode} for dtype, mode in THEIRS]
    orders += [{"tool": "zvae_tiled", "dtype": dtype, "mode": mode} for dtype, mode in OURS]
    if side <= REFERENCE_SIDE:
        orders.insert(0, {"tool": "diffusers", "dtype": "float64", "mode": "full"})
    for number, order in enumerate(orders):
        picture = folder / f"{side}-{number}.npy"
        answer = _in_child({**order, **files, "picture": str(picture), "side": side})
        if isinstance(answer, str):
            print(f"| {order['tool']} | {order['dtype']} | {order['mode']} | {answer} |", flush=True)
            continue
        error = "–"
        if order["dtype"] == "float64":
            reference = np.load(picture)
        elif reference is not None:
            error = f"{rms(np.load(picture), reference):.1e}"
        times = sorted(answer["seconds"])
        sizes = [answer["allocator"], answer.get("predicted"), answer["driver"]]
        shown = " | ".join("–" if size is None else f"{size / 1e6:,.0f}" for size in sizes)
        print(
            f"| {order['tool']} | {order['dtype']} | {order['mode']} | {times[len(times) // 2]:.3f} "
            f"| {times[0]:.3f}–{times[-1]:.3f} | {shown} | {error} |",
            flush=True,
        )


def rms(picture: np.ndarray, reference: np.ndarray) -> float:
    """Return the root of the mean squared difference, as a share of the reference's standard deviation."""
    difference = picture.astype(np.float64) - reference
    return float(np.sqrt(np.mean(difference**2)) / reference.std())


def _in_child(order: dict[str, Any]) -> Any:
    """Return what a child process answers, or why it failed."""
    command = [sys.executable, "-m", "benchmarks.gpu", "child", json.dumps(order)]
    tf32 = {"MLX_ENABLE_TF32": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **tf32})
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return f"failed ({done.returncode}): {last[:200]}"
    return json.loads(done.stdout.strip().splitlines()[-1])


def child(order: dict[str, Any]) -> Any:
    """Carry out one order."""
    return {"prepare": prepare, "zvae_tiled": ours, "diffusers": theirs}[order["tool"]](order)


def prepare(order: dict[str, Any]) -> str:
    """Write the weights and the latents, and describe the machine."""
    from benchmarks.machine import describe
    from benchmarks.quality import structured_latents
    from benchmarks.weights import save_random_vae

    folder = Path(order["folder"])
    save_random_vae(Z_IMAGE, folder / "model")
    for side in order["sides"]:
        np.save(folder / f"{side}.npy", structured_latents(side // 8, side // 8, Z_IMAGE.latents.channels))
    return describe()


def ours(order: dict[str, Any]) -> dict[str, Any]:
    """Decode with zvae_tiled."""
    from benchmarks.tools.ours import budget_of
    from zvae_tiled import VAE

    vae = VAE.load(order["model"], order["dtype"], decoder_only=True)
    latents = np.load(order["latents"])
    case = Case("gpu", "ours", order["side"], order["side"], order["dtype"], budget=order["mode"])
    budget, reports = f"{budget_of(case, vae, latents)}B", []
    for _ in range(1 + RUNS):
        picture, report = vae.decode(latents, "np", raw=True, budget=budget, return_report=True)
        reports.append(report)
        np.save(order["picture"], picture)
    return {
        "seconds": [report.seconds for report in reports[1:]],
        "allocator": max(report.measured_peak for report in reports),
        "predicted": reports[0].predicted_peak,
        "driver": _driver_bytes(),
    }


def theirs(order: dict[str, Any]) -> dict[str, Any]:
    """Decode with diffusers."""
    import torch

    from benchmarks.tools.torch_latents import unscaled
    from benchmarks.tools.torch_vae import loaded, whole

    tf32 = order["mode"] == "TF32"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    case = Case("gpu", "diffusers_full", order["side"], order["side"], order["dtype"])
    model = loaded(case, Files(order["model"]), without="encoder").to("cuda")
    latents = torch.from_numpy(np.load(order["latents"])).to("cuda", model.dtype)
    latents = unscaled(latents, model).contiguous(memory_format=torch.channels_last)
    times = []
    with torch.inference_mode():
        for _ in range(1 + (RUNS if order["dtype"] != "float64" else 1)):
            torch.cuda.synchronize()
            start = time.perf_counter()
            picture = whole(model)(latents)
            host = (picture if order["dtype"] == "float64" else picture.float()).cpu()  # as zvae_tiled's result is
            times.append(time.perf_counter() - start)
            np.save(order["picture"], host.numpy().transpose(0, 2, 3, 1))
    return {"seconds": times[1:], "allocator": torch.cuda.max_memory_allocated(), "driver": _driver_bytes()}


def _driver_bytes() -> int | None:
    """Return what the driver says that this process holds on the card."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]) << 20
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return None


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        print(json.dumps(child(json.loads(sys.argv[2]))))
    else:
        main([int(side) for side in sys.argv[1:]] or [1024, 2048])
