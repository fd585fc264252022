"""Rows of this process and rows that other processes sent are joined to the same bits, in the type of the maps."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest

from zvae_tiled.devices.storage import MlxStorage

TYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


@pytest.mark.parametrize("dtype", TYPES)
def test_received_rows_are_joined_with_own_ones(dtype: str) -> None:
    rng = Random(dtype)
    for _ in range(20):
        whole = np.random.default_rng(rng.randrange(99)).standard_normal((1, rng.randint(3, 9), 2, 3), np.float32)
        rows = whole.astype(TYPES[dtype])
        sent = rows.view(np.uint16) if dtype == "bfloat16" else rows
        cuts = sorted({0, rows.shape[1], rng.randint(1, rows.shape[1] - 1)})
        spans = [
            (sent if rng.random() < 0.6 else mx.array(whole).astype(getattr(mx, dtype)), start, stop)
            for start, stop in pairwise(cuts)
        ]
        joined = MlxStorage(getattr(mx, dtype)).join(spans)
        assert isinstance(joined, mx.array)
        assert joined.dtype == getattr(mx, dtype)
        assert np.array_equal(np.array(joined.astype(mx.float32)), rows.astype(np.float32))
