"""`zvae decode --workers N` beside N independent `zvae decode` processes, on the same pictures, in turns.

The processes share the pictures and the cores evenly, as the workers do. Prints pictures a second, and seconds of CPU,
which depend less on other work.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from zvae_tiled import demo
from zvae_tiled.devices.cores import usable_cores
from zvae_tiled.report.environment import environment

COMMAND = [sys.executable, "-m", "zvae_tiled.cli", "decode", "--vae", "demo", "--quiet"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--side", type=int, default=1024, help="the pictures' side in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    facts = environment("cpu")
    versions = {**facts["versions"], "distributed": metadata.version("distributed")}
    print(f"{facts['processor']}, {facts['cores']} cores, kernels {facts['kernels']}, {versions}, {facts['day']}")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        latents = saved(Path(folder), given.pictures, given.side // 8)
        for number in range(given.rounds):
            alone, alone_cpu = taken(independent, latents, given.workers, Path(folder, f"alone-{number}"))
            together, together_cpu = taken(workers, latents, given.workers, Path(folder, f"together-{number}"))
            ratios.append(alone / together)
            rates = f"independent {given.pictures / alone:.3f}/s, workers {given.pictures / together:.3f}/s"
            cpu = f"CPU {alone_cpu:.1f} s, {together_cpu:.1f} s: {alone_cpu / together_cpu:.3f}"
            print(f"{rates}: {ratios[-1]:.3f}; {cpu}", flush=True)
            same = {path.name: path.read_bytes() for path in Path(folder, f"alone-{number}").glob("*.png")}
            assert same == {path.name: path.read_bytes() for path in Path(folder, f"together-{number}").glob("*.png")}
    print(f"median {statistics.median(ratios):.3f} of the throughput of independent processes")


def taken(run: Callable[[Sequence[Path], int, Path], None], *arguments: Any) -> tuple[float, float]:
    """Return the seconds that a run takes, and those of CPU."""
    start, before = time.perf_counter(), cpu()
    run(*arguments)
    return time.perf_counter() - start, cpu() - before


def cpu() -> float:
    """Return the seconds of CPU that all children have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def saved(folder: Path, count: int, side: int) -> list[Path]:
    """Save latents that differ: the bundled ones, repeated to the size and rolled."""
    source = np.asarray(demo.latents("cat"))
    repeats = (1, 1, -(-side // source.shape[2]), -(-side // source.shape[3]))
    whole = np.tile(source, repeats)[:, :, :side, :side]
    for number in range(count):
        np.save(folder / f"{number}.npy", np.roll(whole, number, axis=3))
    return sorted(folder.glob("*.npy"))


def independent(latents: Sequence[Path], count: int, out: Path) -> None:
    """Decode by `count` processes, each its part of the pictures."""
    out.mkdir()
    threads = str(max(1, usable_cores() // count))
    running = [
        subprocess.Popen(
            [*COMMAND, *map(str, latents[n::count]), "-o", f"{out}/"], env={**os.environ, "ZVAE_THREADS": threads}
        )
        for n in range(count)
    ]
    assert [each.wait() for each in running] == [0] * count


def workers(latents: Sequence[Path], count: int, out: Path) -> None:
    """Decode by one command with `count` workers."""
    out.mkdir()
    subprocess.run([*COMMAND, *map(str, latents), "-o", f"{out}/", "--workers", str(count)], check=True)


if __name__ == "__main__":
    main()
