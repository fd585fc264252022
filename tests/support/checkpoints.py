"""Checkpoints to test with: written by hand, byte for byte, and named by walking the architecture."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]

NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "U32": "<u4",
    "I64": "<i8",
    "U8": "u1",
    "BOOL": "?",
}


class Blob(NamedTuple):
    dtype: str
    values: Array


def encode(tensors: Mapping[str, Blob], metadata: Mapping[str, str] | None = None) -> bytes:
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    data = b""
    for name, blob in tensors.items():
        raw = blob.values.astype(NUMPY[blob.dtype], copy=False).tobytes()
        span = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": blob.dtype, "shape": list(blob.values.shape), "data_offsets": span}
        data += raw
    return with_header(json.dumps(header).encode(), data)


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def write(path: Path, tensors: Mapping[str, Blob | Array]) -> Path:
    blobs = {name: value if isinstance(value, Blob) else Blob("F32", value) for name, value in tensors.items()}
    path.write_bytes(encode(blobs))
    return path


class Row(NamedTuple):
    """One tensor: its diffusers name, its original name, its shape in PyTorch, its old diffusers name."""

    name: str
    original: str
    shape: Shape
    old: str


ATTENTION = (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out"))
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def vae_rows(
    widths: Shape = (8, 16, 16, 16),
    latent: int = 4,
    layers: int = 2,
    quant: bool = True,
    pixels: int = 3,
    attention: bool = True,
) -> list[Row]:
    """List every tensor of an AutoencoderKL, in both schemes."""
    rows = [row for half in ("encoder", "decoder") for row in _half(half, widths, latent, layers, pixels, attention)]
    if quant:
        rows += _layer("quant_conv", "quant_conv", (2 * latent, 2 * latent, 1, 1))
        rows += _layer("post_quant_conv", "post_quant_conv", (latent, latent, 1, 1))
    return rows


def _half(half: str, widths: Shape, latent: int, layers: int, pixels: int, attention: bool) -> Iterator[Row]:
    encoder, levels, top = half == "encoder", len(widths), widths[-1]
    inner, outer = (pixels, 2 * latent) if encoder else (latent, pixels)
    path = list(widths) if encoder else list(reversed(widths))
    yield from _layer(f"{half}.conv_in", f"{half}.conv_in", (path[0], inner, 3, 3))
    before = path[0]
    for level, width in enumerate(path):
        theirs = f"{half}.down.{level}" if encoder else f"{half}.up.{levels - 1 - level}"
        ours = f"{half}.{'down' if encoder else 'up'}_blocks.{level}"
        for block in range(layers if encoder else layers + 1):
            yield from _resnet(f"{ours}.resnets.{block}", f"{theirs}.block.{block}", before, width)
            before = width
        if level < levels - 1:
            sampler = "downsample" if encoder else "upsample"
            yield from _layer(f"{ours}.{sampler}rs.0.conv", f"{theirs}.{sampler}.conv", (width, width, 3, 3))
    for block in (0, 1):
        yield from _resnet(f"{half}.mid_block.resnets.{block}", f"{half}.mid.block_{block + 1}", top, top)
    for ours, theirs in ATTENTION if attention else ():
        old = f"{half}.mid_block.attentions.0.{OLD.get(ours, ours)}"
        shape = (top,) if theirs == "norm" else (top, top)
        yield from _layer(f"{half}.mid_block.attentions.0.{ours}", f"{half}.mid.attn_1.{theirs}", shape, old)
    yield from _layer(f"{half}.conv_norm_out", f"{half}.norm_out", (path[-1],))
    yield from _layer(f"{half}.conv_out", f"{half}.conv_out", (outer, path[-1], 3, 3))


def _resnet(ours: str, theirs: str, before: int, width: int) -> Iterator[Row]:
    yield from _layer(f"{ours}.norm1", f"{theirs}.norm1", (before,))
    yield from _layer(f"{ours}.conv1", f"{theirs}.conv1", (width, before, 3, 3))
    yield from _layer(f"{ours}.norm2", f"{theirs}.norm2", (width,))
    yield from _layer(f"{ours}.conv2", f"{theirs}.conv2", (width, width, 3, 3))
    if before != width:
        yield from _layer(f"{ours}.conv_shortcut", f"{theirs}.nin_shortcut", (width, before, 1, 1))


def _layer(ours: str, theirs: str, shape: Shape, old: str | None = None) -> Iterator[Row]:
    old = old or ours
    yield Row(f"{ours}.weight", f"{theirs}.weight", shape, f"{old}.weight")
    yield Row(f"{ours}.bias", f"{theirs}.bias", shape[:1], f"{old}.bias")


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


def to_mlx_layout(values: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(values, 1, -1)) if values.ndim > 2 else values


def random_vae(rows: list[Row], seed: int = 0) -> dict[str, Array]:
    """Return random weights, in PyTorch's layout, by their diffusers names."""
    draw = np.random.default_rng(seed)
    return {row.name: draw.standard_normal(row.shape).astype(np.float32) for row in rows}


def expected_shapes(weights: Mapping[str, Array]) -> dict[str, Shape]:
    return {name: to_mlx_layout(values).shape for name, values in weights.items()}
