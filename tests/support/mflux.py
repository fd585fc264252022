"""Snapshots as mflux saves them, by the table of their names: full width and without values, or with values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from tests.data import MFLUX_NAMES
from tests.support.checkpoints import Array, Blob, Shape, encode, with_header


class Listed(NamedTuple):
    """One tensor of a snapshot: its shape, whether its layer is quantised, and the diffusers name it comes from."""

    shape: Shape
    quantised: bool
    source: str


class Packing(NamedTuple):
    bits: int
    group: int


def listed() -> dict[str, dict[str, Listed]]:
    """Return the tensors of every class by preset and name."""
    classes: dict[str, dict[str, Listed]] = {}
    for presets, tensors in json.loads(MFLUX_NAMES.read_text()).items():
        for name, text in tensors.items():
            shape, *rest = text.split()
            source = rest[rest.index("from") + 1] if "from" in rest else name
            for preset in presets.split():
                row = Listed(tuple(map(int, shape.split("x"))), "quantised" in rest, source)
                classes.setdefault(preset, {})[name] = row
    return classes


def stored_shapes(preset: str, packing: Packing | None) -> dict[str, tuple[str, Shape]]:
    """Return type and shape of every tensor in a snapshot. Of a layer with a bias, mflux quantises the weight alone."""
    shapes: dict[str, tuple[str, Shape]] = {}
    for name, (shape, quantised, _) in listed()[preset].items():
        if packing is None or not quantised:
            shapes[name] = ("BF16", shape)
            continue
        rows, width = shape
        shapes[name] = ("U32", (rows, width * packing.bits // 32))
        for leaf in ("scales", "biases"):
            shapes[name.removesuffix("weight") + leaf] = ("BF16", (rows, width // packing.group))
    return shapes


def write_without_values(folder: Path, preset: str, packing: Packing | None) -> None:
    """Write a snapshot of full width, which takes no room: all of its values are the zeros of a sparse file."""
    header, end = {}, 0
    for name, (kind, shape) in stored_shapes(preset, packing).items():
        start, end = end, end + prod(shape) * (4 if kind == "U32" else 2)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    start_of_data = _write(folder, with_header(json.dumps(header).encode()), list(header))
    with open(folder / "vae" / "0.safetensors", "r+b") as file:
        file.truncate(start_of_data + end)


def write_with_values(folder: Path, preset: str, tensors: Mapping[str, Array], packing: Packing | None) -> None:
    """Write a snapshot of a narrow model whose weights have diffusers' names and PyTorch's layout."""
    blobs: dict[str, Blob] = {}
    for name, (_, quantised, source) in listed()[preset].items():
        values = tensors[source]
        if name.endswith("weight") and source.endswith("gamma"):
            values = values.reshape(-1)
        elif values.ndim > 2:
            values = np.moveaxis(values, 1, -1)
        if packing is None or not quantised:
            blobs[name] = Blob("F32", np.ascontiguousarray(values))
            continue
        packed, scales, biases = mx.quantize(mx.array(values), group_size=packing.group, bits=packing.bits)
        blobs[name] = Blob("U32", np.array(packed))
        blobs |= {
            name.removesuffix("weight") + leaf: Blob("F32", np.array(array))
            for leaf, array in (("scales", scales), ("biases", biases))
        }
    metadata = {"quantization_level": str(packing and packing.bits), "mflux_version": "0.24.0"}
    _write(folder, encode(blobs, metadata), list(blobs))


def _write(folder: Path, data: bytes, names: list[str]) -> int:
    """Write a VAE's shard and the index beside it, and return the shard's size."""
    (folder / "vae").mkdir()
    index = {"metadata": {"mflux_version": "0.24.0"}, "weight_map": dict.fromkeys(names, "0.safetensors")}
    (folder / "vae" / "model.safetensors.index.json").write_text(json.dumps(index))
    return (folder / "vae" / "0.safetensors").write_bytes(data)
