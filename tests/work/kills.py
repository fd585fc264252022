"""A program that kills decodes at random rows, and decodes again until the picture is there.

It imports MLX and never uses it, so it may fork: a decode costs a fork, not the start of a program.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from random import Random

import numpy as np

from tests.support.plans import plan_for
from zvae_tiled import VAE
from zvae_tiled.engine import checkpoints
from zvae_tiled.report.progress import Progress
from zvae_tiled.sinks import png

FILES = ("a.png", "b.tif", "c.npy")


def decode(folder: Path, work: Path | None, rows: int | None) -> bool:
    """Decode in a process of its own, which kills itself after reading so many bands. Return whether it ended well."""
    child = os.fork()
    if child:
        ended = os.waitpid(child, 0)[1]
        assert ended in (0, signal.SIGKILL)
        return ended == 0

    def listener(progress: Progress) -> None:
        nonlocal rows
        rows = None if rows is None else rows - 1
        if rows == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    checkpoints.SLOW = 0.0 if rows is not None and rows % 2 else 60.0
    try:
        vae = VAE.load(folder / "vae", "float32")
        latents = np.load(folder / "latents.npy")
        names = [folder / name for name in FILES]
        plan = plan_for(vae, latents.shape, Random(0), ("disk",))
        vae.decode_to_file(latents, names, bits=16, plan=plan, progress=listener, work=work)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill `kills` decodes, and compare each picture with that of a decode that was not killed."""
    rng, killed = Random(seed), 0
    checkpoints.SECONDS, png.BLOCK = 0.0, 1 << 10
    assert decode(folder, None, None)
    want = [(folder / name).read_bytes() for name in FILES]
    while killed < kills:
        for name in FILES:
            (folder / name).unlink()
        while not decode(folder, folder / "work", rng.randint(1, 100)):
            killed += 1
            assert not any((folder / name).exists() for name in FILES)
        assert [(folder / name).read_bytes() for name in FILES] == want
        assert not (folder / "work").exists()
    print(f"killed {killed}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
