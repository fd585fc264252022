"""An encode of a file takes no more than its plan says, the reading of the file included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.footprints import LINUX
from tests.support.running import environment

SIDES = (1024, 2048)

MEASURE = """
import sys
from dataclasses import replace
from pathlib import Path
from zvae_tiled import VAE, BudgetError
from zvae_tiled.order import Order, run

def memory(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024

vae = VAE.demo(decoder_only=False)
try:
    vae.plan(1024, 2048, "1B", task="encode")
except BudgetError as refused:
    order = Order("encode", "demo", *sys.argv[1:], budget=f"{refused.needed}B")
Path("/proc/self/clear_refs").write_text("5")
before = memory("VmRSS")
report = run(order, vae)
print(memory("VmHWM") - before + vae.weight_bytes, report.predicted_peak)
"""
"""Encodes a file with the least budget. Prints what the process took, and what was predicted."""


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["<f4", ">f8"])
def test_a_file_of_floats_takes_no_more_than_the_plan(kind: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((*SIDES, 3), np.float32)
    np.save(tmp_path / "a.npy", values.astype(kind))
    words = [sys.executable, "-c", MEASURE, str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]
    child = subprocess.run(words, capture_output=True, text=True, env=environment(), check=True)
    taken, predicted = map(int, child.stdout.split())
    assert taken <= predicted
