"""A program that forks a child for each run, and lets a call of the C library fail in it: `strike.c` is preloaded.

It reads requests from standard input, and writes what became of them to standard output, as lines of JSON. It imports
MLX and never uses it, so it may fork: a run costs a fork, not the start of a program.
"""

from __future__ import annotations

import ctypes
import gc
import json
import shutil
import sys
import tempfile
import time
import traceback
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import numpy as np

from tests.campaign.forks import Ended, in_fork
from tests.campaign.struck.runs import RUNS, Given, result
from tests.support.leftovers import state
from zvae_tiled import devices, sinks
from zvae_tiled.devices.here import mlx_version
from zvae_tiled.errors import ZvaeError

KINDS = {"nothing": 0, "memory": 1, "disk": 2}

_library = ctypes.CDLL(None)
_end: Any = getattr(
    _library, "strike_end", None
)  # looked up here, because at the end of a run nothing may be allocated


def strike(kind: str = "nothing", number: int = -1, least: int = 1, ever: bool = False) -> None:
    """Let a call of this kind, of at least so many bytes, fail; `ever`: and all later ones."""
    _library.strike(KINDS[kind], ctypes.c_long(number), ctypes.c_size_t(least), ever)


def counts() -> dict[str, int]:
    """Return how many calls were seen, and how many of them failed."""
    return {name: int(getattr(_library, f"strike_{name}")()) for name in ("seen", "struck")}


def attempt(given: Given, run: str, folder: Path, fault: dict[str, Any]) -> Ended:
    """Run with a fault, and return how it ended."""
    latents, before, returned = given.latents.copy(), state(), None
    ended: Ended = {"ended": "done", "said": ""}
    strike(**fault)
    try:
        try:
            returned = RUNS[run](given, folder)
        finally:
            _end()
    except ZvaeError as error:
        ended = {"ended": "refused", "said": f"{type(error).__name__}: {error}"}
    except BaseException:
        ended = {"ended": "escaped", "said": traceback.format_exc()}
    ended |= counts()
    if ended["ended"] == "done":
        ended["digest"] = result(returned, folder)
    ended["left"] = sorted(path.name for path in folder.iterdir())
    ended["kept"] = bool(np.array_equal(given.latents, latents))
    del returned
    gc.collect()
    deadline = time.monotonic() + 30
    while state() != before and time.monotonic() < deadline:
        time.sleep(0.01)  # MLX frees some arrays only when a thread of its own is done with them
    return ended | {"before": before, "after": state()}


def _child(given: Given, run: str, fault: dict[str, Any], again: bool) -> Ended:
    folder = Path(tempfile.mkdtemp(prefix="run-"))
    found = attempt(given, run, folder, fault)
    if again and found["ended"] == "refused":
        found["again"] = attempt(given, run, folder, {})
    shutil.rmtree(folder)
    return found


def forked(given: Given, run: str, fault: dict[str, Any], again: bool = True) -> Ended:
    """Run in a child, and return how it ended."""
    return in_fork(lambda: _child(given, run, fault, again))


def prepare() -> None:
    """Let NumPy show where it asks for arrays, and import what decodes import: compilers of Python hide failures."""
    for made, size in ((np.empty, 1_234_567), (np.zeros, 1_234_568)):
        _library.strike_learn(ctypes.c_size_t(size))
        made(size, np.uint8)
    for package in (devices, sinks):
        for found in walk_packages(package.__path__, f"{package.__name__}."):
            import_module(found.name)
    mlx_version()


def main() -> None:
    """Answer requests until there are no more."""
    prepare()
    given = Given.made(Path(tempfile.mkdtemp(prefix="given-")))

    @cache
    def healthy(run: str) -> str:
        return str(forked(given, run, {})["digest"])

    for line in sys.stdin:
        request = json.loads(line)
        run = request.pop("run")
        want = healthy(run)
        print(json.dumps(forked(given, run, request) | {"want": want}), flush=True)


if __name__ == "__main__":
    main()
