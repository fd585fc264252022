"""One decode or encode in a process that does nothing else: it reads a JSON order, and prints what the process grew by.

Its imports are a user's and no more, so that what a decode imports by itself is part of what it takes.
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

from zvae_tiled import VAE, Exact, Latents, Stream, Tiles, config_of
from zvae_tiled.planner.quality import Quality

FORGET = Path("/proc/self/clear_refs")
"""Linux: a 5 written there wipes the process's high-water mark."""

MARKS = Path("/proc/self/status")


def main() -> None:
    """Measure."""
    order = json.loads(sys.argv[1])
    vae, given = loaded(order), given_to(order)
    held = vae.weight_bytes + (given.nbytes if order["shared"] else 0)
    _forget()
    before = _mark("VmRSS")
    peaks = run(vae, given, order)
    grown = _mark("VmHWM") - before
    predicted, allocator = peaks or (_planned(vae, order), None)
    print(json.dumps({"held": held, "grown": grown, "predicted": predicted, "allocator": allocator}))


def loaded(order: dict[str, Any]) -> VAE:
    """Return the VAE."""
    only = order["task"] == "decode"
    if order["weights"] is None:
        return VAE.demo(order["dtype"], decoder_only=only)
    return VAE.load(order["weights"], order["dtype"], decoder_only=only, config=config_of(order["config"]))


def given_to(order: dict[str, Any]) -> Any:
    """Return latents or pictures: as an MLX array, which is read where it lies, or as one that is copied."""
    rng = np.random.default_rng(order["seed"])
    made = rng.random if order["task"] == "encode" else rng.standard_normal
    given = made(order["shape"], np.float32)
    return mx.array(given) if order["shared"] else given


def run(vae: VAE, given: Any, order: dict[str, Any]) -> tuple[int, int] | None:
    """Do what was ordered; return the predicted and the measured peak, or None for a stream, which has no report."""
    options: dict[str, Any] = {"budget": f"{order['budget']}B", "spill_folder": order["folder"]}
    end = order["end"]
    if order["task"] == "encode":
        _, report = vae.encode(given, return_report=True, **options)
        return report.predicted_peak, report.measured_peak
    given, options["quality"] = Latents(given, layout="NHWC"), quality_of(order["quality"])
    if end == "stream":
        for rows in vae.stream(given, **options):
            del rows
        return None
    if end.startswith("."):
        path = Path(order["folder"]) / f"picture{end}"
        report = vae.decode_to_file(given, path, bits=order["bits"], **options)
    else:
        _, report = vae.decode(given, output_type=end, return_report=True, **options)
    return report.predicted_peak, report.measured_peak


def _planned(vae: VAE, order: dict[str, Any]) -> int:
    batch, height, width, _ = order["shape"]
    scale = vae.config.scale
    budget, quality = f"{order['budget']}B", quality_of(order["quality"])
    return vae.plan(height * scale, width * scale, budget, batch, "stream", quality=quality).predicted_peak


def quality_of(order: dict[str, Any]) -> Quality:
    """Return a quality of its name and its attributes."""
    kinds: dict[str, type[Quality]] = {"exact": Exact, "tiles": Tiles, "stream": Stream}
    return kinds[order["name"]](**{name: value for name, value in order.items() if name != "name"})


def _forget() -> None:
    """Give back what loading left behind, as far as that can be, and wipe the high-water mark."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    FORGET.write_text("5")


def _mark(name: str) -> int:
    line = next(line for line in MARKS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
