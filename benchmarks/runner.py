"""Running cases: every decode in a child process of its own, those of a group in turn."""

from __future__ import annotations

import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.case import Case, Files, Sample
from benchmarks.comparison import compared
from benchmarks.footprint import taken_by
from benchmarks.noise import Noise
from benchmarks.tools import TORCH
from zvae_tiled.devices.here import device_kind
from zvae_tiled.report.environment import environment
from zvae_tiled.report.figures import Row

ROOT = Path(__file__).resolve().parent.parent

PATIENCE = 0.2
"""Seconds between two looks at a child."""


@dataclass(frozen=True)
class Machine:
    """How children are run.

    Attributes:
        limit: Bytes a child's process may take.
        timeout: Seconds a child may take.
        peers: Interpreters that have peers, beside this one.
        environment: Variables on top of this process's.
        module: What a child runs.
    """

    limit: int
    timeout: float = 3600.0
    peers: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    module: str = "benchmarks.child"


@dataclass(frozen=True)
class Group:
    """Cases that take turns.

    Attributes:
        cases: The cases; all pictures are compared with the first that was computed in float32 or float64.
        model: Folder of the VAE, for tools that read it; None for random weights made in the child.
        latents: File of the latents.
        compare: Whether pictures are compared.
    """

    cases: tuple[Case, ...]
    model: Path | None = None
    latents: Path | None = None
    compare: bool = False


def run_group(group: Group, machine: Machine) -> Iterator[Row]:
    """Run every case of a group, round after round, and yield its row once it has had its rounds, or failed in one."""
    samples: list[list[Sample]] = [[] for _ in group.cases]
    reference: Path | None = None
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(max(case.rounds for case in group.cases)):
            for i, case in enumerate(group.cases):
                if turn >= case.rounds or any(sample.outcome != "ok" for sample in samples[i]):
                    continue
                picture = Path(folder) / f"{i}.npy"
                samples[i].append(run_child(case, group, picture if group.compare and not turn else None, machine))
                if reference is None and case.dtype in ("float64", "float32") and picture.exists():
                    reference = picture
                if turn + 1 < case.rounds and samples[i][-1].outcome == "ok":
                    continue
                row = row_of(case, samples[i])
                if row.outcome == "ok" and picture.exists() and reference is not None:
                    row = compared(row, picture, reference, samples[i][0].seams)
                yield row


def run_child(case: Case, group: Group, picture: Path | None, machine: Machine) -> Sample:
    """Run one child, in the first interpreter that has what it needs."""
    files = Files(*(None if path is None else str(path) for path in (group.model, group.latents, picture)))
    order = json.dumps({"case": case.to_json(), "files": asdict(files)})
    own = {"ZVAE_BLAS": "off"} if case.tool in TORCH else {"ZVAE_KERNELS": case.kernels} if case.kernels else {}
    variables = {**dict(machine.environment), **own}
    noise, sample = Noise(), Sample(outcome="not run")
    for python in (sys.executable, *machine.peers):
        sample = _asked(python, order, machine, variables)
        if not sample.outcome.startswith("not run"):
            break
    here = environment(device_kind())
    ended = {**here, "kernels": variables.get("ZVAE_KERNELS", here["kernels"])}
    sample.environment = {**(sample.environment or ended), "others": noise.share(), "limit": machine.limit}
    print(f"  {case.name}: {_short(sample)}", file=sys.stderr, flush=True)
    return sample


def row_of(case: Case, samples: Sequence[Sample]) -> Row:
    """Return what the rounds of a case come to; if one failed, that."""
    failed = next((sample for sample in samples if sample.outcome != "ok"), None)
    told = failed or samples[0]
    others = max(sample.environment.get("others", 0.0) for sample in samples)
    row = Row(
        suite=case.suite,
        tool=case.label,
        family=case.model,
        height=case.height,
        width=case.width,
        dtype=case.dtype,
        batch=case.batch,
        quality=f"{case.quality}, {case.budget}",
        outcome=told.outcome,
        note=told.note,
        environment={"commit": commit(), **told.environment, "others": others},
    )
    times = [sample.seconds for sample in samples if sample.seconds is not None]
    if failed or not times:
        return row
    return replace(
        row,
        seconds=statistics.median(times),
        spread=(min(times), max(times)),
        rounds=tuple(times),
        runs=len(times),
        budget=told.budget,
        plan=told.plan,
        predicted_peak=told.predicted_peak,
        allocator_peak=_most([sample.allocator_peak for sample in samples]),
        footprint=_most([sample.footprint for sample in samples]),
        flops=told.flops,
    )


@functools.cache
def commit() -> str:
    """Return the commit that was checked out when this process first asked; with a plus if code differed from it."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        return "unknown"
    code = ("zvae_tiled", "native", "setup.py", "benchmarks/*.py")
    changed = subprocess.run(["git", "status", "--porcelain", "--", *code], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _asked(python: str, order: str, machine: Machine, variables: dict[str, str]) -> Sample:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    variables = {**os.environ, "PYTHONPATH": path, "MLX_ENABLE_TF32": "0", **variables}
    pipe = subprocess.PIPE
    command = [python, "-m", machine.module]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=variables) as child:
        try:
            answer, words = _watched(child, order, machine)
        except _EndedError as ended:
            return Sample(outcome=str(ended))
        finally:
            child.kill()
    if child.returncode < 0:
        # MLX does not look whether it was given memory: a refused allocation ends in a signal there.
        return Sample(outcome=f"died (signal {-child.returncode})")
    if child.returncode:
        last = (words.strip().splitlines() or ["without a word"])[-1]
        return Sample(outcome=f"died ({child.returncode}): {last[:120]}")
    values: dict[str, Any] = json.loads(answer.strip().splitlines()[-1])
    return Sample(**values)


class _EndedError(Exception):
    """Why a child was ended."""


def _watched(child: subprocess.Popen[str], order: str, machine: Machine) -> tuple[str, str]:
    """Return what a child prints, unless it takes more than it may."""
    start, sent = time.monotonic(), False
    while True:
        try:
            return child.communicate(None if sent else order, PATIENCE)
        except subprocess.TimeoutExpired:
            sent = True
        taken, spent = taken_by(child.pid), time.monotonic() - start
        if taken > machine.limit:
            raise _EndedError(f"more than {machine.limit / 1e9:.1f} GB, after {spent:.0f} s")
        if spent > machine.timeout:
            raise _EndedError(f"longer than {machine.timeout:.0f} s, with up to {taken / 1e9:.1f} GB")


def _most(found: list[int | None]) -> int | None:
    known = [value for value in found if value is not None]
    return max(known) if known else None


def _short(sample: Sample) -> str:
    if sample.outcome != "ok":
        return sample.outcome
    peaks = (sample.allocator_peak, sample.footprint)
    shown = ", ".join("–" if peak is None else f"{peak / 1e6:,.0f} MB" for peak in peaks)
    return f"{sample.seconds or 0.0:.2f} s, {shown}; others {sample.environment['others']:.1%}"
