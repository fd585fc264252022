"""The native kernels called by several Python threads at once: the pool keeps the calls apart."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels.cases import random
from tests.kernels.native import PATHS, kernels_of


@pytest.mark.parametrize("path", PATHS)
def test_calls_at_once_find_what_each_finds_alone(path: str) -> None:
    rng = np.random.default_rng(0)
    maps = [random((1, int(rng.integers(1, 40)), 30, 20), mx.bfloat16, rng) for _ in range(6)]
    kernels = [kernels_of(path, mx.bfloat16, threads) for threads in (1, 2, 3, 5, 4, 2)]

    def find(caller: int) -> set[bytes]:
        return {b"".join(array.tobytes() for array in kernels[caller].moments(maps[caller])) for _ in range(50)}

    alone = [find(caller) for caller in range(len(maps))]
    assert all(len(found) == 1 for found in alone)
    with ThreadPoolExecutor(len(maps)) as callers:
        assert list(callers.map(find, range(len(maps)))) == alone
