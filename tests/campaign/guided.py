"""Damages files where the coverage of our readers leads, by atheris: it is no dependency, and not every Python has it.

    pip install atheris==3.0.0
    python -m tests.campaign.guided weights|npy|npz|safetensors SECONDS

The judges are those of the row `files`. A file that they object to is left here, as ``crash-…``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["zvae_tiled.weights", "zvae_tiled.inputs"]):
    from tests.campaign.read import latents, weights
    from tests.support.checkpoints import with_header

FIRST = 200
"""Files to begin with. All others are made from them."""


def main(kind: str, seconds: str) -> None:
    """Try files for so many seconds. atheris ends the process."""
    folder, rng = Path(tempfile.mkdtemp()), Random(0)
    begin, path = folder / "begin", folder / ("weights.safetensors" if kind == "weights" else f"latents.{kind}")
    begin.mkdir()
    for number in range(FIRST):
        content = weights.file_like(rng) if kind == "weights" else latents.file_of(rng, kind)
        (begin / str(number)).write_bytes(content)
        (begin / f"{number}-header").write_bytes(content[8 : 8 + int.from_bytes(content[:8], "little")])
    judge = weights.judge if kind == "weights" else latents.judge

    def attempt(content: bytes) -> None:
        headed = [with_header(content, bytes(96))] if path.suffix == ".safetensors" else []  # whose length is right
        for each in (content, *headed):
            path.write_bytes(each)
            judge(path, each)

    options = [f"-max_total_time={seconds}", "-print_final_stats=1", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *options, str(begin)], attempt)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
