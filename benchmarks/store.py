"""Stores rows as JSON lines in ``benchmarks/results/SUITE.jsonl``, and reads files that users sent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zvae_tiled.report.figures import Row

FOLDER = Path(__file__).with_name("results")
SENT = "sent"
"""The folder for files that `zvae_tiled.report.figures.write` wrote on other machines."""


def named(suite: str, device: str) -> str:
    """Return the name of a suite's rows: those of a GPU lie in a file of their own, beside a CPU's."""
    return suite if device == "cpu" else f"{suite}.{device}"


def read(suite: str, folder: Path = FOLDER) -> list[Row]:
    """Return the rows of a suite. There are none if it was never run."""
    file = folder / f"{suite}.jsonl"
    return [row_from(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def sent(folder: Path = FOLDER) -> list[tuple[dict[str, Any], list[Row]]]:
    """Return environment and rows of every file that a user sent."""
    files = []
    for file in sorted((folder / SENT).glob("*.json")):
        values = json.loads(file.read_text())
        files.append((values["environment"], [row_from(row) for row in values["rows"]]))
    return files


def write(suite: str, rows: Iterable[Row], folder: Path = FOLDER) -> None:
    """Store rows, the newest last.

    A row replaces an older row of the same case. Rows of other machines are removed, because ratios must come from one
    machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = list(rows)
    machines = {_machine(row) for row in new}
    again = {_key(row) for row in new}
    kept = [row for row in read(suite, folder) if _machine(row) in machines and _key(row) not in again]
    file = folder / f"{suite}.jsonl"
    part = file.with_suffix(".part")
    part.write_text("".join(json.dumps(asdict(row)) + "\n" for row in (*kept, *new)))
    os.replace(part, file)


def row_from(values: dict[str, Any]) -> Row:
    """Return a row from its JSON."""
    pairs = {name: tuple(values[name]) for name in ("spread", "rounds", "seams") if values.get(name) is not None}
    return Row(**{**values, **pairs})


def _machine(row: Row) -> tuple[Any, ...]:
    return tuple(row.environment.get(name) for name in ("processor", "cores"))


def _key(row: Row) -> tuple[Any, ...]:
    where = (row.environment.get("device"), row.environment.get("kernels"))
    return (row.tool, row.family, row.height, row.width, row.batch, row.dtype, row.quality, *where)
