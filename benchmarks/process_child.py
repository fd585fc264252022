"""Runs one decode or encode in its own process. It reads an order as JSON, and prints the growth of the process.

It imports only what a user imports, so that the modules which a decode imports by itself are measured too.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled import VAE, Latents, config_of
from zvae_tiled.planner.quality import QUALITIES, Quality

FORGET = Path("/proc/self/clear_refs")
"""Linux resets the process's high-water mark when a 5 is written to this file."""

MARKS = Path("/proc/self/status")


def main() -> None:
    """Measure."""
    order = json.loads(sys.argv[1])
    vae, values = loaded(order), input_of(order)
    held = vae.weight_bytes + (values.nbytes if order["shared"] else 0)
    _forget()
    before = _mark("VmRSS")
    peaks = run(vae, values, order)
    grown = _mark("VmHWM") - before
    predicted, allocator = peaks or (_planned(vae, order), None)
    print(json.dumps({"held": held, "grown": grown, "predicted": predicted, "allocator": allocator}))


def loaded(order: dict[str, Any]) -> VAE:
    """Return the VAE of the order."""
    only = order["task"] == "decode"
    if order["weights"] is None:
        return VAE.demo(order["dtype"], decoder_only=only)
    return VAE.load(order["weights"], order["dtype"], decoder_only=only, config=config_of(order["config"]))


def input_of(order: dict[str, Any]) -> Any:
    """Return latents or pictures: an MLX array if the order is shared, else a NumPy array, which is copied."""
    rng = np.random.default_rng(order["seed"])
    draw = rng.random if order["task"] == "encode" else rng.standard_normal
    values = draw(order["shape"], np.float32)
    return mx.array(values) if order["shared"] else values


def run(vae: VAE, values: Any, order: dict[str, Any]) -> tuple[int, int] | None:
    """Run the order. Return the predicted and the measured peak, or None for a stream, which has no report."""
    options: dict[str, Any] = {"budget": f"{order['budget']}B", "spill_folder": order["folder"]}
    end = order["end"]
    if order["task"] == "encode":
        _, report = vae.encode(values, return_report=True, **options)
        return report.predicted_peak, report.measured_peak
    latents, options["quality"] = Latents(values, layout="NHWC"), quality_of(order["quality"])
    if end == "stream":
        for rows in vae.stream(latents, **options):
            del rows
        return None
    if end.startswith("."):
        path = Path(order["folder"]) / f"picture{end}"
        report = vae.decode_to_file(latents, path, bits=order["bits"], **options)
    else:
        _, report = vae.decode(latents, output_type=end, return_report=True, **options)
    return report.predicted_peak, report.measured_peak


def _planned(vae: VAE, order: dict[str, Any]) -> int:
    batch, height, width, _ = order["shape"]
    cell = vae.config.cell // vae.config.latents.returned[1]
    budget, quality = f"{order['budget']}B", quality_of(order["quality"])
    return vae.plan(height * cell, width * cell, budget, batch, "stream", quality=quality).predicted_peak


def quality_of(order: dict[str, Any]) -> Quality:
    """Return the quality with this name and these attributes."""
    return QUALITIES[order["name"]](**{name: value for name, value in order.items() if name != "name"})


def _forget() -> None:
    """Return the memory that loading left behind to the system, as far as possible, and reset the high-water mark."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    FORGET.write_text("5")


def _mark(name: str) -> int:
    line = next(line for line in MARKS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
