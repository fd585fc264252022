"""Running cases: every decode in a child process of its own, those of a group in turn."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.case import Case, Files, Sample
from benchmarks.comparison import compared
from benchmarks.footprint import taken_by
from benchmarks.tools import TORCH
from zvae_tiled.selfbench import Row

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Machine:
    """How children are run.

    Attributes:
        limit: Bytes a child may take.
        timeout: Seconds a child may take.
        peers: Interpreters that have peers, beside this one.
        environment: Variables on top of this process's.
        module: What a child runs.
    """

    limit: int
    timeout: float = 900.0
    peers: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    module: str = "benchmarks.child"


@dataclass(frozen=True)
class Group:
    """Cases that take turns.

    Attributes:
        cases: The cases; the pictures of all are compared with the first's that has one in float32.
        model: Folder of the VAE, for tools that read it; None for random weights made in the child.
        latents: File of the latents.
        compare: Whether pictures are compared.
    """

    cases: tuple[Case, ...]
    model: Path | None = None
    latents: Path | None = None
    compare: bool = False


def run_group(group: Group, machine: Machine) -> Iterator[Row]:
    """Run every case of a group, round after round, and yield a row for each."""
    samples: list[list[Sample]] = [[] for _ in group.cases]
    with tempfile.TemporaryDirectory() as folder:
        pictures = [Path(folder) / f"{i}.npy" for i in range(len(group.cases))]
        for turn in range(max(case.rounds for case in group.cases)):
            for i, case in enumerate(group.cases):
                if turn < case.rounds and (not turn or samples[i][0].outcome == "ok"):
                    wanted = pictures[i] if group.compare and not turn else None
                    samples[i].append(run_child(case, group, wanted, machine))
        rows = [row_of(case, found) for case, found in zip(group.cases, samples, strict=True)]
        if group.compare:
            rows = compared(rows, pictures, [found[0].seams for found in samples])
        yield from rows


def run_child(case: Case, group: Group, picture: Path | None, machine: Machine) -> Sample:
    """Run one child, in the first interpreter that has what it needs."""
    files = Files(*(None if path is None else str(path) for path in (group.model, group.latents, picture)))
    order = json.dumps({"case": case.to_json(), "files": asdict(files), "limit": machine.limit})
    sample = Sample(outcome="not run")
    for python in (sys.executable, *machine.peers):
        own = {"ZVAE_BLAS": "off"} if case.tool in TORCH else {"ZVAE_KERNELS": case.kernels} if case.kernels else {}
        sample = _asked(python, order, machine, own)
        if not sample.outcome.startswith("not run"):
            break
    print(f"  {case.name}: {_short(sample)}", file=sys.stderr, flush=True)
    return sample


def row_of(case: Case, samples: Sequence[Sample]) -> Row:
    """Return what the rounds of a case come to."""
    first, good = samples[0], [sample for sample in samples if sample.outcome == "ok"]
    row = Row(
        suite=case.suite,
        tool=case.label,
        family=case.model,
        height=case.height,
        width=case.width,
        dtype=case.dtype,
        batch=case.batch,
        quality=f"{case.quality}, {case.budget}",
        outcome=first.outcome,
        note=first.note,
        environment={"commit": commit(), **first.environment},
    )
    if first.outcome != "ok":
        return row
    times = [seconds for sample in good for seconds in sample.seconds]
    timed = {"seconds": statistics.median(times), "spread": (min(times), max(times))} if times else {}
    return replace(
        row,
        **timed,  # type: ignore[arg-type]
        runs=len(times),
        budget=first.budget,
        plan=first.plan,
        predicted_peak=first.predicted_peak,
        allocator_peak=_most([sample.allocator_peak for sample in good]),
        footprint=_most([sample.footprint for sample in good]),
        flops=first.flops,
    )


def commit() -> str:
    """Return the commit that is checked out; with a plus if files differ from it."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        return "unknown"
    clean = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "zvae_tiled", "benchmarks/*.py"], cwd=ROOT)
    return found.stdout.strip() + ("" if clean.returncode == 0 else "+")


def _asked(python: str, order: str, machine: Machine, own: dict[str, str]) -> Sample:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    variables = {**os.environ, "PYTHONPATH": path, "MLX_ENABLE_TF32": "0", **dict(machine.environment), **own}
    pipe = subprocess.PIPE
    command = [python, "-m", machine.module]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=variables) as child:
        try:
            answer, words = child.communicate(order, machine.timeout)
        except subprocess.TimeoutExpired:
            taken = taken_by(child.pid)
            return Sample(outcome=f"longer than {machine.timeout:.0f} s, with {taken / 1e9:.1f} GB by then")
        finally:
            child.kill()
    if child.returncode < 0:
        # MLX does not look whether it was given memory: a refused allocation ends in a signal there.
        return Sample(outcome=f"died (signal {-child.returncode}) at a limit of {machine.limit / 1e9:.1f} GB")
    if child.returncode:
        last = (words.strip().splitlines() or ["without a word"])[-1]
        return Sample(outcome=f"died ({child.returncode}): {last[:120]}")
    values: dict[str, Any] = json.loads(answer.strip().splitlines()[-1])
    return Sample(**values)


def _most(found: list[int | None]) -> int | None:
    known = [value for value in found if value is not None]
    return max(known) if known else None


def _short(sample: Sample) -> str:
    if sample.outcome != "ok":
        return sample.outcome
    peaks = (sample.allocator_peak, sample.footprint)
    shown = ", ".join("–" if peak is None else f"{peak / 1e6:,.0f} MB" for peak in peaks)
    return f"{' '.join(f'{seconds:.2f}' for seconds in sample.seconds)} s, {shown}"
