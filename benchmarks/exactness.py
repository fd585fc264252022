"""How near bands come to float64, beside the full decode: the figures of docs/exactness.md.

    MLX_ENABLE_TF32=0 python -m benchmarks.exactness

The cases are those of tests/engine/test_exact.py: random decoders, sizes and plans.
"""

from __future__ import annotations

from random import Random

import numpy as np

from benchmarks.machine import describe
from tests.engine.test_exact import ROUNDING, Errors, random_case

SEEDS = range(80)


def measured(dtype: str) -> list[Errors]:
    return [random_case(Random(seed), dtype, seed) for seed in SEEDS]


def main() -> None:
    print(describe())
    for dtype, rounding in ROUNDING.items():
        found = measured(dtype)
        shares = [each.bands / max(each.full, rounding / 1000) for each in found]
        steady = [each for each in found if not each.few]
        print(
            f"{dtype}: {np.exp(np.mean(np.log(shares))):.2f}x in the geometric mean of {len(found)}; of {len(steady)} "
            f"that are not few values, at most {max(each.bands / each.full for each in steady):.2f}x and "
            f"{max((each.bands - each.full) / rounding for each in steady):.1f} roundings above; of the others "
            f"{max((each.bands - each.full) / rounding for each in found if each.few):.1f}"
        )


if __name__ == "__main__":
    main()
