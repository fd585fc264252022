"""A process of many that decode at once: ``python -m tests.campaign.crowd THREADS``.

For each line of standard input, a number, its threads decode so many times. It prints, as JSON, the digests of the
pictures by their latents, and what the process holds.
"""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.campaign.held import held
from tests.support.models import random_latents, random_vae
from tests.support.plans import bits
from tests.support.running import CONFIG

SEEDS = 4
"""So many different latents are decoded."""


def main(threads: int) -> None:
    """Decode as often as asked for."""
    vae = random_vae(CONFIG, "bfloat16")
    latents = [random_latents(CONFIG, 12, 10, seed=seed) for seed in range(SEEDS)]
    folder = Path(tempfile.mkdtemp(prefix="crowd-"))

    def decoded(number: int) -> tuple[str, str]:
        given = latents[number % SEEDS]
        if number % 3:
            return f"array {number % SEEDS}", hashlib.sha256(bits(vae.decode(given, budget="1GB"))).hexdigest()
        picture = folder / f"{number}.png"
        vae.decode_to_file(given, picture)
        digest = hashlib.sha256(picture.read_bytes()).hexdigest()
        picture.unlink()
        return f"file {number % SEEDS}", digest

    with ThreadPoolExecutor(threads) as pool:
        for line in sys.stdin:
            found = sorted(set(pool.map(decoded, range(int(line) * threads))))
            gc.collect()
            print(json.dumps({"found": found, "held": held()}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
