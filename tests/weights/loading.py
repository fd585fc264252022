"""One small VAE, and functions that load it from any stored form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from tests.support.checkpoints import Array, Shape, expected_shapes, random_vae, to_mlx_layout, vae_rows, write
from zvae_tiled.errors import WeightsError
from zvae_tiled.weights.load import load_weights

ROWS = vae_rows()
WEIGHTS = random_vae(ROWS)
EXPECTED = expected_shapes(WEIGHTS)
DECODER = {name: shape for name, shape in EXPECTED.items() if name.startswith(("decoder.", "post_quant_conv."))}
ENCODER = ("encoder.", "quant_conv.")


def load(
    path: Any,
    expected: Mapping[str, Shape] = EXPECTED,
    dtype: mx.Dtype = mx.float32,
    ignore: tuple[str, ...] = (),
) -> dict[str, mx.array]:
    loaded: dict[str, mx.array] = {}

    def assign(name: str, array: mx.array) -> None:
        assert name not in loaded
        assert array.dtype == dtype
        assert array.shape == expected[name]
        loaded[name] = array

    load_weights(path, expected, dtype, assign, ignore)
    assert loaded.keys() == expected.keys()
    return loaded


def refused(path: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(WeightsError) as caught:
        load(path, *arguments, **options)
    return "\n".join(line.strip() for line in str(caught.value).splitlines())


def assert_is_reference(loaded: Mapping[str, mx.array], dtype: mx.Dtype = mx.float32) -> None:
    for name, array in loaded.items():
        assert mx.array_equal(array, mx.array(to_mlx_layout(WEIGHTS[name])).astype(dtype)).item(), name


def as_convolutions(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Attention as the original files have it: 1×1 convolutions."""
    return {
        name: values[:, :, None, None] if ".attentions." in name and values.ndim == 2 else values
        for name, values in weights.items()
    }


def shards(folder: Path, count: int = 3) -> Path:
    weight_map: dict[str, str] = {}
    for shard in range(count):
        part = dict(list(WEIGHTS.items())[shard::count])
        weight_map |= dict.fromkeys(part, write(folder / f"m-{shard}.safetensors", part).name)
    index = folder / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    return index
