"""The process's own footprint: what the system sees stays under the budget and what the interpreter takes anyway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

import zvae_tiled
from tests.support.models import save_random
from tests.support.plans import exact_plan
from zvae_tiled.errors import BudgetError
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.plan.case import Case, Output
from zvae_tiled.plan.device import CPU

CONFIG = AutoencoderKLConfig(
    latent_channels=4, block_out_channels=(8,), norm_num_groups=4, mid_block_add_attention=False
)
"""Weights of a few kilobytes, and maps of 32 bytes a pixel."""

CHILD = """
import json, pathlib, re, resource, sys
import numpy as np
from zvae_tiled import VAE
from zvae_tiled.families import config_from
order = json.loads(sys.argv[1])
config = config_from(order["config"])
vae = VAE.load(order["weights"], "float32", config=config)
latents = np.random.default_rng(0).standard_normal((1, 4, order["height"], order["width"]), np.float32)
options = dict(budget=order["budget"], spill_folder=order["folder"])
if order["path"]:
    report = vae.decode_to_file(latents, order["path"], **options)
else:
    pictures, report = vae.decode(latents, output_type=order["output_type"], return_report=True, **options)
status = pathlib.Path("/proc/self/status")
if status.exists():  # Linux keeps ru_maxrss across exec: it would be that of the process that runs the tests
    high_water = int(re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())[1]) * 1024
else:
    high_water = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
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


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("footprint"))


@pytest.fixture(scope="module")
def baseline(runs: Runs) -> int:
    """What a process takes that does all the same for a picture of 16 pixels."""
    high_water, *_ = runs(4, 4, "1GB")
    return high_water


def smallest(height: int, width: int, output: Output) -> int:
    with pytest.raises(BudgetError) as error:
        exact_plan(Case(CONFIG, height, width, CPU.name, "float32", output=output), 1)
    return error.value.needed


GENEROUS = "400MB"


@pytest.mark.parametrize(
    ("budget", "output_type", "name"),
    [
        (GENEROUS, "mx", ""),
        ("smallest", "mx", ""),
        pytest.param(GENEROUS, "np", "", marks=pytest.mark.slow),
        pytest.param("smallest", "np", "", marks=pytest.mark.slow),
        pytest.param("smallest", "pil", "", marks=pytest.mark.slow),
        pytest.param("smallest", "mx", "picture.npy", marks=pytest.mark.slow),
        pytest.param("smallest", "mx", "picture.png", marks=pytest.mark.slow),
    ],
)
def test_the_process_stays_under_the_budget(
    runs: Runs, baseline: int, budget: str, output_type: str, name: str
) -> None:
    height, width = 150, 8400
    if budget == "smallest":
        budget = f"{smallest(height, width, 'rows' if name else 'array')}B"
    path = str(runs.folder / name) if name else ""
    high_water, predicted, limit = runs(height, width, budget, output_type, path)
    assert high_water - baseline <= limit, f"{high_water - baseline:,} of {limit:,}, predicted {predicted:,}"
    if budget == GENEROUS:
        assert predicted > 100e6
        assert high_water - baseline > predicted / 2, "this would not see a decode that takes too much"
