"""Runs cases: every decode in its own child process. The cases of a group take turns."""

from __future__ import annotations

import contextlib
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

HOUR = 3600.0

PATIENCE = 0.2
"""Seconds between two checks of a child."""


@dataclass(frozen=True)
class Machine:
    """The settings for child processes.

    Attributes:
        limit: Most bytes of a child process.
        timeout: Most seconds of a child process. Default: an hour.
        peers: Other Python interpreters, which have peers installed.
        environment: Environment variables to add to those of this process.
        module: The module that a child runs.
        keep: Folder for pictures and samples: a run that was stopped goes on with them. Default: a temporary folder.
    """

    limit: int
    timeout: float | None = None
    peers: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    module: str = "benchmarks.child"
    keep: Path | None = None


@dataclass(frozen=True)
class Group:
    """A group of cases that take turns.

    Attributes:
        cases: The cases. Their pictures are compared with the first one that is computed in float32 or float64,
            or with that of the first case if none is.
        model: Folder of the VAE. Default: the child creates random weights.
        latents: File of the latents. Default: the child creates random latents.
        compare: Whether to compare the pictures.
    """

    cases: tuple[Case, ...]
    model: Path | None = None
    latents: Path | None = None
    compare: bool = False


def run_group(group: Group, machine: Machine, only: str = "") -> Iterator[Row]:
    """Run the cases of a group, round after round. Yield the row of a case after its last round, or after a failure.

    A case whose name does not hold the text `only` is not run: if the machine keeps no sample of it, it is left out.
    Nothing is compared where the reference may be one that is left out.
    """
    samples: list[list[Sample]] = [[] for _ in group.cases]
    judges = [i for i, case in enumerate(group.cases) if case.dtype in ("float64", "float32")] or [0]
    reference: Path | None = None
    clip = group.cases[judges[0]].tool == "ours_file"
    with folder_of(machine) as folder:
        for turn in range(max(case.rounds for case in group.cases)):
            for i, case in enumerate(group.cases):
                if turn >= case.rounds or any(sample.outcome != "ok" for sample in samples[i]):
                    continue
                known, picture = folder / f"{case.digest}-{turn}.json", folder / f"{case.digest}.npy"
                if only not in case.name and not known.exists():
                    judges = judges if reference or i not in judges else []
                    continue
                own = replace(group, compare=group.compare and not turn)
                samples[i].append(run_once(case, own, known, picture, machine))
                if reference is None and i in judges and samples[i][-1].outcome == "ok" and picture.exists():
                    reference = picture
                if turn + 1 < case.rounds and samples[i][-1].outcome == "ok":
                    continue
                row = row_of(case, samples[i])
                if row.outcome == "ok" and picture.exists() and reference is not None:
                    row = compared(row, picture, reference, samples[i][0].seams, clip)
                yield row


@contextlib.contextmanager
def folder_of(machine: Machine) -> Iterator[Path]:
    """Yield the folder that the machine keeps, or a temporary one."""
    if machine.keep is not None:
        machine.keep.mkdir(parents=True, exist_ok=True)
        yield machine.keep.resolve()  # children have another working directory
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def run_once(case: Case, group: Group, known: Path, picture: Path, machine: Machine) -> Sample:
    """Return the sample in the file `known`. If there is none, run a child, and save its sample there.

    What can be had in another run is not saved: a tool that is not installed, and a decode that goes on.
    """
    if known.exists():
        sample = Sample(**json.loads(known.read_text()))
        print(f"  {case.name}: kept, of commit {sample.environment.get('commit')}", file=sys.stderr, flush=True)
        return sample
    work = known.with_suffix(".work") if case.resumed else None
    sample = run_child(case, group, picture if group.compare else None, machine, work)
    if sample.outcome.startswith("not run") or (case.resumed and sample.outcome != "ok"):
        return sample
    part = known.with_suffix(".part")
    part.write_text(json.dumps(asdict(sample)))
    os.replace(part, known)
    return sample


def run_child(case: Case, group: Group, picture: Path | None, machine: Machine, work: Path | None = None) -> Sample:
    """Run one child, in the first interpreter that has the packages it needs."""
    files = Files(*(None if path is None else str(path) for path in (group.model, group.latents, picture, work)))
    request = json.dumps({"case": case.to_json(), "files": asdict(files)})
    own = {"ZVAE_BLAS": "off"} if case.tool in TORCH else {"ZVAE_KERNELS": case.kernels} if case.kernels else {}
    variables = {**dict(machine.environment), **own}
    noise, sample = Noise(), Sample(outcome="not run")
    for python in (sys.executable, *machine.peers):
        sample = _run_in(python, request, machine, variables)
        if not sample.outcome.startswith("not run"):
            break
    here = environment(device_kind())
    fallback = {**here, "kernels": variables.get("ZVAE_KERNELS", here["kernels"])}
    others = max(noise.share(), sample.environment.get("others", 0.0))
    own_part = {"commit": commit(), "others": others, "limit": machine.limit}
    sample.environment = {**(sample.environment or fallback), **own_part}
    print(f"  {case.name}: {_short(sample)}", file=sys.stderr, flush=True)
    return sample


def row_of(case: Case, samples: Sequence[Sample]) -> Row:
    """Return the row for the rounds of a case. If a round failed, the row describes the failure."""
    failed = next((sample for sample in samples if sample.outcome != "ok"), None)
    shown = failed or samples[0]
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
        outcome=shown.outcome,
        note=shown.note,
        environment={"commit": commit(), **shown.environment, "others": others},
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
        budget=shown.budget,
        plan=shown.plan,
        predicted_peak=shown.predicted_peak,
        allocator_peak=_most([sample.allocator_peak for sample in samples]),
        footprint=_most([sample.footprint for sample in samples]),
        flops=shown.flops,
        disk=shown.disk,
    )


@functools.cache
def commit() -> str:
    """Return the commit that is checked out at the first call. A plus means that the code differs from it."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if head.returncode:
        return "unknown"
    code = ("zvae_tiled", "native", "setup.py", "benchmarks/*.py")
    changed = subprocess.run(["git", "status", "--porcelain", "--", *code], cwd=ROOT, capture_output=True, text=True)
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _run_in(python: str, request: str, machine: Machine, variables: dict[str, str]) -> Sample:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    variables = {**os.environ, "PYTHONPATH": path, "MLX_ENABLE_TF32": "0", **variables}
    pipe = subprocess.PIPE
    command = [python, "-m", machine.module]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=variables) as child:
        try:
            answer, errors = _watched(child, request, machine)
        except _EndedError as ended:
            return Sample(outcome=str(ended))
        finally:
            child.kill()
    if child.returncode < 0:
        # MLX does not check allocations: a refused one ends the process with a signal.
        return Sample(outcome=f"died (signal {-child.returncode})")
    if child.returncode:
        last = (errors.strip().splitlines() or ["no message"])[-1]
        return Sample(outcome=f"died ({child.returncode}): {last[:120]}")
    values: dict[str, Any] = json.loads(answer.strip().splitlines()[-1])
    return Sample(**values)


class _EndedError(Exception):
    """A child took too much memory or time, and was ended. The message is the reason."""


def _watched(child: subprocess.Popen[str], request: str, machine: Machine) -> tuple[str, str]:
    """Return the outputs of a child. Raise an error if it takes more memory or time than the machine allows."""
    start, sent = time.monotonic(), False
    most = HOUR if machine.timeout is None else machine.timeout
    while True:
        try:
            return child.communicate(None if sent else request, PATIENCE)
        except subprocess.TimeoutExpired:
            sent = True
        taken, spent = taken_by(child.pid), time.monotonic() - start
        if taken > machine.limit:
            raise _EndedError(f"more than {machine.limit / 1e9:.1f} GB, after {spent:.0f} s")
        if spent > most:
            raise _EndedError(f"longer than {most:.0f} s, with up to {taken / 1e9:.1f} GB")


def _most(values: list[int | None]) -> int | None:
    measured = [value for value in values if value is not None]
    return max(measured) if measured else None


def _short(sample: Sample) -> str:
    if sample.outcome != "ok":
        return sample.outcome
    peaks = (sample.allocator_peak, sample.footprint)
    shown = ", ".join("–" if peak is None else f"{peak / 1e6:,.0f} MB" for peak in peaks)
    return f"{sample.seconds or 0.0:.2f} s, {shown}; others {sample.environment['others']:.1%}"
