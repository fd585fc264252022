"""Asks the server for runs in which a call of the C library fails, and judges how they ended."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from math import gcd
from pathlib import Path
from typing import Any

from tests.campaign.lines import lines_of
from tests.campaign.part import Case
from tests.campaign.struck.runs import EACH, OTHERS
from tests.support.running import ROOT, environment

COMPILER = shutil.which("cc") or shutil.which("gcc")

COMPILED = "Linux and a compiler of C"


def can_strike() -> bool:
    """Return whether the library that lets calls fail can be built here."""
    return COMPILER is not None and sys.platform == "linux"


@cache
def server() -> tuple[subprocess.Popen[str], queue.Queue[str]]:
    """Start the server once a process, and return it with its answers. It ends with this one, whose pipe it reads."""
    library = Path(tempfile.mkdtemp(prefix="strike-")) / "strike.so"
    source = Path(__file__).with_name("strike.c")
    cpp = ["-Wl,--no-as-needed", "-lstdc++", "-ldl"]  # of which `new` is struck: found only if it is loaded first
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-O1", source, "-o", library, *cpp], check=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.campaign.struck.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(LD_PRELOAD=str(library), PYTHONDONTWRITEBYTECODE="1"),
    )
    return process, lines_of(process)


def asked(run: str, kind: str, number: int, least: int = 1, ever: bool = False) -> dict[str, Any]:
    """Return how a run ended in which call `number` failed."""
    process, answers = server()
    assert process.stdin is not None
    print(
        json.dumps({"run": run, "kind": kind, "number": number, "least": least, "ever": ever}),
        file=process.stdin,
        flush=True,
    )
    line = answers.get()
    assert line, f"the server ended with {process.wait()}"
    found: dict[str, Any] = json.loads(line)
    return found


@cache
def calls(run: str, kind: str, least: int) -> int:
    """Return how many calls a healthy run makes."""
    return int(asked(run, kind, -1, least)["seen"])


def strike(case: Case, kind: str, least: int = 1) -> None:
    """Let a call fail: each of three runs in turn, once and from there on; then random ones of other runs."""
    run, number, ever = _chosen(case, kind, least)
    judge(f"{run}: {kind} {number}{' and later' if ever else ''}", asked(run, kind, number, least, ever), run)


def _chosen(case: Case, kind: str, least: int) -> tuple[str, int, bool]:
    each = [(run, number) for run in EACH for number in range(calls(run, kind, least))]
    if case.number < 2 * len(each):  # spread, so that the first cases are not those of loading
        return *each[case.number * _stride(len(each)) % len(each)], case.number >= len(each)
    run = case.rng.choice([name for name in OTHERS if calls(name, kind, least)])
    return run, case.rng.randrange(calls(run, kind, least)), case.rng.random() < 0.5


def _stride(count: int) -> int:
    """Return a step that visits all of so many numbers."""
    return next(step for step in range(37, 37 + count + 2) if gcd(step, count) == 1)


def judge(told: str, found: dict[str, Any], run: str) -> None:
    """Raise what is wrong with how a run ended."""
    told = f"{told}\n{json.dumps(found, indent=1)}\n{found.get('said', '')}"
    assert found["ended"] in ("done", "refused"), told
    _judge_state(told, found, run)
    if "again" in found:
        assert found["again"]["ended"] == "done", f"it cannot be repeated: {told}"
        assert found["again"]["digest"] == found["want"], f"wrong bytes when it is repeated: {told}"
        _judge_state(told, found["again"], run)


def _judge_state(told: str, found: dict[str, Any], run: str) -> None:
    assert found["kept"], f"the latents are changed: {told}"
    assert found["before"] == found["after"], f"something is left in the process: {told}"
    if found["ended"] == "done":
        assert found.get("digest") in (None, found.get("want", found.get("digest"))), f"wrong bytes: {told}"
    else:
        assert set(found["left"]) <= ({"work"} if run == "a work folder" else set()), f"files are left: {told}"
