"""The process's own footprint: what the system sees stays under the budget and what the interpreter takes anyway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import zvae_tiled
from tests.models import save_random
from zvae_tiled import VAEConfig

CONFIG = VAEConfig(latent_channels=4, block_out_channels=(8,), norm_num_groups=4, mid_block_add_attention=False)
"""Weights of a few kilobytes, and maps of 32 bytes a pixel."""

CHILD = """
import json, resource, sys
import numpy as np
from zvae_tiled import VAE, VAEConfig
order = json.loads(sys.argv[1])
config = VAEConfig.from_dict(order["config"])
vae = VAE.load(order["weights"], "float32", config=config)
latents = np.random.default_rng(0).standard_normal((1, 4, order["height"], order["width"]), np.float32)
options = dict(layout="NCHW", budget=order["budget"], spill_folder=order["folder"])
if order["path"]:
    report = vae.decode_to_file(latents, order["path"], **options)
else:
    pictures, report = vae.decode(latents, output_type=order["output_type"], return_report=True, **options)
unit = 1 if sys.platform == "darwin" else 1024
high_water = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(json.dumps([high_water - latents.nbytes, report.predicted_peak, report.budget]))
"""


class Runs:
    """Child processes that decode, each with its own high-water mark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = save_random(CONFIG, folder / "vae.safetensors")

    def __call__(self, height: int, width: int, budget: str, output_type: str = "mx", path: str = "") -> list[int]:
        order = {
            "config": asdict(CONFIG),
            "weights": str(self.weights),
            "folder": str(self.folder),
            **{"height": height, "width": width, "budget": budget, "output_type": output_type, "path": path},
        }
        command = [sys.executable, "-W", "error", "-c", CHILD, json.dumps(order)]
        root = str(Path(zvae_tiled.__file__).parent.parent)
        child = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root})
        assert child.returncode == 0, child.stderr
        found: list[int] = json.loads(child.stdout)
        return found
