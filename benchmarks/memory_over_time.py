"""Draws the memory of a process over a decode, diffusers' full one and ours in three budgets: ``docs/memory.svg``.

    python -m benchmarks.memory_over_time --peers-python .venv-peers/bin/python

A picture of 1024², by a random VAE of Z-Image's full width, in bfloat16: each decode in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.case import Case, Sample
from benchmarks.machine import describe
from benchmarks.runner import Group, Machine, run_child
from benchmarks.timeline import Line
from benchmarks.weights import save_random_vae
from zvae_tiled.report.chart import line_chart
from zvae_tiled.report.figures import random_latents
from zvae_tiled.wording import size

CHART = Path(__file__).parent.parent / "docs" / "memory.svg"
PIXELS, LIMIT = 1024, 8 << 30
CASES = {
    "diffusers, full decode": Case("timeline", "diffusers_full", PIXELS, PIXELS, label="diffusers, full"),
    "zvae_tiled, all maps kept": Case("timeline", "ours", PIXELS, PIXELS),
    "zvae_tiled, half of that as the budget": Case("timeline", "ours", PIXELS, PIXELS, budget="half"),
    "zvae_tiled, the smallest budget": Case("timeline", "ours", PIXELS, PIXELS, budget="least"),
}


def main() -> None:
    """Measure, draw the chart, and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers-python", required=True, help="an interpreter that has torch and diffusers")
    machine = Machine(LIMIT, peers=(parser.parse_args().peers_python,), module="benchmarks.timeline")
    case = next(iter(CASES.values()))
    with tempfile.TemporaryDirectory() as folder:
        latents = Path(folder) / "latents.npy"
        np.save(latents, random_latents(case.config, PIXELS, PIXELS))
        group = Group(tuple(CASES.values()), save_random_vae(case.config, Path(folder) / "vae"), latents)
        samples = {name: run_child(case, group, None, machine) for name, case in CASES.items()}
    print(describe())
    for name, sample in samples.items():
        print(f"{name:<40} {sample.seconds or 0:6.1f} s  peak {size(peak(sample))}  {sample.outcome}")
    CHART.write_text(chart(samples))


def chart(samples: dict[str, Sample]) -> str:
    """Return the chart: MB against the share of each decode's own time, since other work may slow some of them."""
    lines = {f"{name}: at most {size(peak(sample))}": shares(line_of(sample)) for name, sample in samples.items()}
    title = f"Memory of the process while decoding {PIXELS}² with Z-Image's VAE, bfloat16"
    return line_chart(title, "share of the decode's own time, %", "MB, weights included", lines, log="y")


def peak(sample: Sample) -> float:
    """Return the highest point of a sample's line."""
    return max(y for _, y in line_of(sample))


def line_of(sample: Sample) -> Line:
    """Return the line in a sample's note."""
    return [(x, y) for x, y in json.loads(sample.note)]


def shares(line: Line) -> Line:
    """Return points of per cent and MB."""
    start, end = line[0][0], line[-1][0]
    return [(100 * (x - start) / (end - start), y / 1e6) for x, y in line]


if __name__ == "__main__":
    main()
