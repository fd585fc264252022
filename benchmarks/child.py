"""Measures one case in its own process: ``python -m benchmarks.child`` reads JSON, and prints a `Sample` as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib import import_module

from benchmarks.case import Case, Files, Sample

PEERS = ("torch", "diffusers", "mflux", "platformdirs", "piexif", "toml", "transformers")
"""Packages that an interpreter may lack: the peers, and those that mflux imports."""


def main() -> None:
    request = json.loads(sys.stdin.read())
    print(json.dumps(asdict(answer(Case.from_json(request["case"]), Files(**request["files"])))))


def answer(case: Case, files: Files) -> Sample:
    """Measure the case. If that fails, return a sample whose outcome is the reason."""
    try:
        tool = import_module(f"benchmarks.tools.{case.tool}")
        sample: Sample = tool.measure(case, files)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in PEERS:
            raise
        return Sample(outcome=f"not run: {error.name} is not installed")
    except Exception as error:
        if not is_memory(error):
            raise
        return Sample(outcome="out of memory: an allocation was refused")
    from zvae_tiled.devices.here import device_kind, device_name
    from zvae_tiled.report.environment import environment

    kind = device_kind()
    sample.environment |= environment(kind) if kind == "cpu" else {**environment(kind), "card": device_name()}
    return sample


def is_memory(error: Exception) -> bool:
    """Return whether memory ran out. torch, MLX and NumPy raise different errors for it."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(
        word in words
        for word in ("can't allocate memory", "unable to allocate", "out of memory", "could not create a memory")
    )


if __name__ == "__main__":
    main()
