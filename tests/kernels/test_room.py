"""Room is made once for the memory of a result: twice would lift the ceiling of a decode above its prediction."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels.cases import random, weights_of, wide
from tests.kernels.native import CASES, kernels_of
from tests.kernels.native_steps import whole
from tests.support.ceilings import Asked
from zvae_tiled.chain import Step
from zvae_tiled.devices.heap import under
from zvae_tiled.files.map_bytes import FileBytes

STEP = Step("step", "conv", 32, 48)
HEIGHT, WIDTH = 40, 64


@pytest.mark.parametrize(("path", "dtype"), CASES, ids=str)
def test_of_a_convolution(path: str, dtype: mx.Dtype) -> None:
    rng, kernels = np.random.default_rng(0), kernels_of(path, dtype)
    x = random((1, HEIGHT, WIDTH, STEP.inputs), dtype, rng)
    with under(asked := Asked()):
        result = whole(kernels, STEP, weights_of(STEP, dtype, rng), x, None, None)
    assert asked.sizes.count(result.nbytes) == 1


@pytest.mark.parametrize(("path", "dtype"), CASES, ids=str)
def test_of_rows_from_a_file(path: str, dtype: mx.Dtype, tmp_path: Path) -> None:
    kernels = kernels_of(path, dtype)
    x = random((1, HEIGHT, WIDTH, STEP.outputs), dtype, np.random.default_rng(0))
    with open(tmp_path / "spilled", "w+b") as file:
        place = FileBytes(file, 0)
        kernels.write(place, x)
        with under(asked := Asked()):
            read = kernels.read(place, 0, HEIGHT, WIDTH, STEP.outputs)
    assert asked.sizes == [x.nbytes]
    assert np.array_equal(wide(read), wide(x))
