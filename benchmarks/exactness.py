"""Measures how far bands and the full decode are from float64: the figures of docs/exactness.md.

    MLX_ENABLE_TF32=0 python -m benchmarks.exactness

The cases are those of tests/engine/test_exact.py: random narrow decoders, sizes and plans. A decoder of Z-Image's size
with random weights follows.
"""

from __future__ import annotations

import numpy as np

from benchmarks.machine import describe
from tests.engine.test_exact import ROUNDING, Errors, compared, random_decode
from tests.support.float64 import decode64, ready_latents, widened
from tests.support.models import whole_decode
from zvae_tiled.families import config_of
from zvae_tiled.report.figures import random_latents, random_vae

SEEDS = range(80)
SIDE = 128
"""Side of the picture in pixels, for the decoder of Z-Image's size."""


def measured(dtype: str) -> list[Errors]:
    return [random_decode(seed, dtype) for seed in SEEDS]


def main() -> None:
    print(describe())
    for dtype, rounding in ROUNDING.items():
        errors = measured(dtype)
        shares = [each.bands / max(each.full, rounding / 1000) for each in errors]
        steady = [each for each in errors if not each.few]
        print(
            f"{dtype}: error of bands / error of the full decode is {np.exp(np.mean(np.log(shares))):.2f}x in the "
            f"geometric mean of {len(errors)}; without tiny inputs ({len(steady)}) at most "
            f"{max(each.bands / each.full for each in steady):.2f}x, and "
            f"{max((each.bands - each.full) / rounding for each in steady):.1f} roundings above; with tiny inputs "
            f"{max((each.bands - each.full) / rounding for each in errors if each.few):.1f} roundings above"
        )
    for dtype in ROUNDING:
        error = of_full_size(dtype)
        print(
            f"{dtype}, Z-Image's size, {SIDE}²: {error.bands / error.full:.2f}x ({error.bands:.1e}, {error.full:.1e})"
        )


def of_full_size(dtype: str) -> Errors:
    """Return the errors of a decoder of Z-Image's size."""
    vae = random_vae(config_of("z-image"), dtype)
    latents = random_latents(vae.config, SIDE, SIDE)
    want = decode64(vae, latents)
    full = widened(whole_decode(vae, ready_latents(vae, latents)))
    bands = vae.decode(latents, output_type="np", raw=True, budget="2GB").astype(np.float64)
    return compared(bands, full, want, latents[0, 0].size)


if __name__ == "__main__":
    main()
