"""Measures the growth of processes: random decodes and encodes, each in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.runner import ROOT, commit
from benchmarks.trials import Trial, random_trial
from zvae_tiled.devices.here import device_kind
from zvae_tiled.report.environment import environment
from zvae_tiled.report.figures import Row

TRIALS = 200


def rows() -> Iterator[Row]:
    """Yield a row per trial."""
    where = {**environment(device_kind()), "commit": commit()}
    for seed in range(TRIALS):
        row = measured(random_trial(seed), where)
        print(f"  {row.quality}: {room_left(row):,} bytes left", file=sys.stderr, flush=True)
        yield row


def measured(trial: Trial, where: dict[str, Any]) -> Row:
    """Run a trial in a child process."""
    with tempfile.TemporaryDirectory() as folder:
        order = trial.order(Path(folder))
        command = [sys.executable, "-m", "benchmarks.process_child", json.dumps(order)]
        child = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if child.returncode:
        raise RuntimeError(f"{trial}\n{child.stderr}")
    figures: dict[str, Any] = json.loads(child.stdout)
    return Row(
        suite="process",
        tool=f"{trial.task}, {trial.end}",
        family=trial.family,
        height=trial.height * trial.config.scale,
        width=trial.width * trial.config.scale,
        dtype=trial.dtype,
        batch=trial.batch,
        quality=f"{trial.quality.name}, trial {trial.seed}",
        budget=order["budget"],
        predicted_peak=figures["predicted"],
        allocator_peak=figures["allocator"],
        footprint=figures["held"] + figures["grown"],
        environment=where,
    )


def room_left(row: Row) -> int:
    """Return predicted minus measured bytes of a process. They are negative if it took more."""
    return predicted(row) - (row.footprint or 0)


def is_kept(row: Row) -> bool:
    """Return whether the promise was kept: process ≤ predicted ≤ budget."""
    return room_left(row) >= 0 and predicted(row) <= (row.budget or 0)


def predicted(row: Row) -> int:
    """Return the predicted peak, which every row of this suite has."""
    assert row.predicted_peak is not None
    return row.predicted_peak
