"""What a process grows by: random decodes and encodes, each in a process that does nothing else."""

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
    """Yield a row a trial."""
    where = {**environment(device_kind()), "commit": commit()}
    for seed in range(TRIALS):
        row = measured(random_trial(seed), where)
        print(f"  {row.quality}: {room_left(row):,} bytes left", file=sys.stderr, flush=True)
        yield row


def measured(trial: Trial, where: dict[str, Any]) -> Row:
    """Run a trial in a child."""
    with tempfile.TemporaryDirectory() as folder:
        order = trial.order(Path(folder))
        command = [sys.executable, "-m", "benchmarks.process_child", json.dumps(order)]
        child = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if child.returncode:
        raise RuntimeError(f"{trial}\n{child.stderr}")
    found: dict[str, Any] = json.loads(child.stdout)
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
        predicted_peak=found["predicted"],
        allocator_peak=found["allocator"],
        footprint=found["held"] + found["grown"],
        environment=where,
    )


def room_left(row: Row) -> int:
    """Return the bytes between what a process took and what was predicted; below 0 if it took more."""
    return predicted(row) - (row.footprint or 0)


def is_kept(row: Row) -> bool:
    """Tell whether the promise was kept: process ≤ predicted ≤ budget."""
    return room_left(row) >= 0 and predicted(row) <= (row.budget or 0)


def predicted(row: Row) -> int:
    """Return what was predicted; every row of this suite says it."""
    assert row.predicted_peak is not None
    return row.predicted_peak
