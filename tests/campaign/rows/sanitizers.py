"""Sanitizers: native code that checks itself computes random cases, which a C++ program compares with float64.

The sample leaves them out: `.ci/run` builds and runs the same by `scripts/sanitize`.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from functools import cache, partial
from hashlib import sha256
from pathlib import Path

from tests.campaign.part import Case, Part
from tests.support.running import ROOT, environment

CASES = 20
"""Cases of each path in a run of the program."""

PATIENCE = 3600.0
"""Seconds of a case: the first one builds."""

COPIED = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")


def can_build() -> bool:
    """Return whether the kernels can be built with sanitizers here."""
    return sys.platform == "linux" and shutil.which("g++") is not None


@cache
def built(sanitizers: str) -> list[str]:
    """Return the command of the program, built with the library that it judges. Both check themselves."""
    sources = sorted(path for name in ("native", "tests/native") for path in (ROOT / name).iterdir() if path.is_file())
    digest = sha256(b"".join(path.read_bytes() for path in [ROOT / "setup.py", *sources])).hexdigest()[:12]
    folder = ROOT / "build" / f"sanitized-{sanitizers}-{digest}"  # minutes, but only once
    if not (folder / "harness").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _build(folder, sanitizers)
    (library,) = folder.glob("zvae_tiled/devices/native_cpu/*.so")
    # The thread sanitizer of GCC 12 stops where Linux shuffles addresses by 32 bits.
    return ["setarch", platform.machine(), "-R", str(folder / "harness"), str(library)]


def _build(folder: Path, sanitizers: str) -> None:
    folder.mkdir(parents=True)
    for name in ("native", "zvae_tiled"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in COPIED:
        shutil.copy(ROOT / name, folder)
    settings = {"ZVAE_SANITIZE": sanitizers, "ZVAE_EMULATE_AMX": "1", "CC": "gcc", "CXX": "g++", "PYTHONWARNINGS": ""}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=folder, env=environment(**settings), check=True, capture_output=True)
    flags = ["-std=c++17", "-O1", "-g1", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    source = ROOT / "tests" / "native" / "harness.cpp"
    subprocess.run(["g++", *flags, source, "-o", folder / "unnamed", "-ldl"], check=True)
    (folder / "unnamed").rename(folder / "harness")  # at the end: a build that was ended is made again


def attempt(case: Case, sanitizers: str) -> int:
    """Judge some random cases of every path; return how many."""
    command, seed = built(sanitizers), str(case.rng.getrandbits(31))
    paths = _ran(command).stdout
    drawn = subprocess.run(
        [sys.executable, "-m", "tests.native.cases", str(CASES), seed],
        input=paths,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    file = case.folder / "cases"
    file.write_text(drawn.stdout)
    done = _ran([*command, str(file)])
    count = CASES * len(paths.splitlines())
    assert (done.returncode, done.stdout) == (0, f"{count} cases, 0 wrong\n"), (
        f"seed {seed}: {done.stdout}{done.stderr}"
    )
    return count


def _ran(command: list[str]) -> subprocess.CompletedProcess[str]:
    options = environment(ASAN_OPTIONS="detect_stack_use_after_return=1", TSAN_OPTIONS="halt_on_error=1")
    return subprocess.run(command, capture_output=True, text=True, env=options, check=False)


MEMORY = Part(
    "memory",
    "random cases of the native kernels under ASAN and UBSAN",
    4_000,
    0,
    partial(attempt, sanitizers="address,undefined"),
    PATIENCE,
    "Linux and g++",
    can_build,
)
RACES = Part(
    "races",
    "random cases of the native kernels and their threads under TSAN",
    1_000,
    0,
    partial(attempt, sanitizers="thread"),
    PATIENCE,
    "Linux and g++",
    can_build,
)

PARTS = (MEMORY, RACES)
