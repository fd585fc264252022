"""Checks whether memory use grew: measured peaks against predictions, budgets and the committed baselines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypedDict

from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.report.figures import Row

FILE = Path(__file__).with_name("baselines.json")

SLACK = 1.05
"""A peak may exceed its baseline by this factor, because a new version of MLX may change it."""


class Baseline(TypedDict):
    """The measured and the predicted peak of a baseline, in bytes."""

    peak: int
    predicted: int


def name(row: Row) -> str:
    """Return the name of a row. It includes the kernels, because each kind has its own workspace."""
    size = f"{row.width}x{row.height}" + (f" x{row.batch}" if row.batch > 1 else "")
    kernels = f"{row.environment.get('device', 'cpu')}/{row.environment.get('kernels', 'default')}"
    what = "" if row.tool == "zvae_tiled" else f"{row.tool}, "
    return f"{kernels}: {what}{row.family}, {size}, {row.dtype}, {row.quality}"


def read(file: Path = FILE) -> dict[str, Baseline]:
    """Return the baselines, by name; an empty dictionary if there is no file."""
    baselines: dict[str, Baseline] = json.loads(file.read_text()) if file.exists() else {}
    return baselines


def faults(rows: Iterable[Row], baselines: dict[str, Baseline]) -> Iterator[str]:
    """Yield a line for each fault."""
    for row in rows:
        key = name(row)
        if row.outcome != "ok" or row.allocator_peak is None or row.predicted_peak is None:
            yield f"{key}: {row.outcome}"
            continue
        peak = row.allocator_peak
        arrays = row.predicted_peak - PROCESS  # the rest is reserved for memory outside the allocator
        for limit, what in ((arrays, "its prediction for arrays"), (row.budget, "its budget")):
            if limit is not None and peak > limit:
                yield f"{key}: {peak:,} bytes, {what} is {limit:,}"
        if key not in baselines:
            yield f"{key}: no baseline; create it with --update-baseline"
        elif peak > SLACK * baselines[key]["peak"]:
            before = baselines[key]["peak"]
            yield f"{key}: {peak:,} bytes, {peak / before - 1:+.1%} compared with the baseline of {before:,}"


def differences(rows: Iterable[Row], baselines: dict[str, Baseline]) -> Iterator[str]:
    """Yield a line for each baseline that an update would change."""
    measured = _baselines_of(rows)
    for key in sorted({*measured, *baselines}):
        old, new = baselines.get(key), measured.get(key)
        if old is None and new is not None:
            yield f"+ {key}: {new['peak']:,}"
        elif new is not None and old is not None and old != new:
            change = new["peak"] / old["peak"] - 1
            yield f"~ {key}: peak {old['peak']:,} -> {new['peak']:,} ({change:+.2%}), predicted {new['predicted']:,}"


def update(rows: Iterable[Row], baselines: dict[str, Baseline], file: Path = FILE) -> None:
    """Write the baselines with those of the rows. Baselines without a row are kept."""
    merged = {**baselines, **_baselines_of(rows)}
    file.write_text(json.dumps(merged, indent=1, sort_keys=True) + "\n")


def _baselines_of(rows: Iterable[Row]) -> dict[str, Baseline]:
    return {
        name(row): {"peak": row.allocator_peak, "predicted": row.predicted_peak}
        for row in rows
        if row.outcome == "ok" and row.allocator_peak is not None and row.predicted_peak is not None
    }
