"""Matches stored tensors to tensors of the model, before the first value is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from zvae_tiled.weights.complaints import Complaints
from zvae_tiled.weights.header import TensorInfo
from zvae_tiled.weights.layout import Layout, Shape, is_matrix, layouts_of, one_frame, pytorch_shape
from zvae_tiled.weights.names import canonical_names
from zvae_tiled.weights.quantised import Packing, infer_packing
from zvae_tiled.weights.values import SOURCES

TWICE = "stored twice"
UNUSABLE = "of a type that cannot be weights"
PACKED = "quantised, but with shapes that do not fit together"
MISSHAPED = "mis-shaped"
MIXED = "some convolutions are (O, I, H, W), others (O, H, W, I)"
MISSING = "missing"
EXTRA = "not part of this VAE"


class Store(Protocol):
    """What holds tensors: a `SafetensorsFile`, or `Arrays` in memory."""

    @property
    def path(self) -> Path | str:
        """What an error calls it."""

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Its tensors by name, in the order of their bytes."""

    def read_tensor(self, info: TensorInfo, skip: int, into: memoryview) -> None:
        """Fill ``into`` with a tensor's bytes, after skipping the first ``skip`` of them."""


@dataclass(frozen=True)
class Stored:
    """One tensor of a checkpoint: what holds it, its name, and its entry in the header."""

    file: Store
    name: str
    info: TensorInfo


@dataclass(frozen=True)
class Quantised:
    """The scales, biases and packing of a quantised tensor."""

    scales: Stored
    biases: Stored
    packing: Packing


@dataclass(frozen=True)
class Match:
    """One tensor of the model and the stored tensor that it is made from.

    Attributes:
        name: Its canonical name.
        shape: The model's shape, in MLX's layout.
        source: The stored tensor.
        stored_shape: The stored shape. For a quantised tensor, the shape after unpacking.
        quantised: Scales, biases and packing if the source is quantised, else None.
        frames: Temporal slices of a stored 3-D convolution. Only the last is kept.
    """

    name: str
    shape: Shape
    source: Stored
    stored_shape: Shape
    quantised: Quantised | None = None
    frames: int = 1


def match(
    stored: Sequence[Stored],
    expected: Mapping[str, Shape],
    ignore: tuple[str, ...],
    complaints: Complaints,
    causal: bool = False,
) -> tuple[list[Match], Layout]:
    """Pair every expected tensor with a stored one.

    Args:
        stored: Every tensor of the checkpoint.
        expected: Canonical names and shapes, in MLX's layout.
        ignore: Prefixes of canonical names that may be present and are never read.
        complaints: Receives every fault. The result is valid only if there are none.
        causal: Whether 3-D convolutions are accepted, of which the last temporal slice is kept.

    Returns:
        The matches in the order of their bytes, and the layout of the checkpoint.
    """
    table = _by_canonical_name(stored, expected, ignore, complaints)
    used: set[str] = set()
    matches = []
    for name, shape in expected.items():
        if name not in table:
            complaints.add(MISSING, f"{name} {shape}")
            continue
        used.add(name)
        source = table[name]
        if source.info.dtype == "U32" and name.endswith(".weight"):
            companions = [name.removesuffix("weight") + leaf for leaf in ("scales", "biases")]
            used.update(companions)
            each = _unpacked(name, shape, source, [table.get(leaf) for leaf in companions], complaints)
        else:
            each = _plain(name, shape, source, complaints, causal)
        matches += [each] if each is not None else []
    for name in sorted(table.keys() - used):
        original = table[name].name
        complaints.add(EXTRA, original if original == name else f"{original} (is {name})")
    return _in_file_order(matches), _decide_layout(matches, complaints)


def _by_canonical_name(
    stored: Sequence[Stored], expected: Mapping[str, Shape], ignore: tuple[str, ...], complaints: Complaints
) -> dict[str, Stored]:
    names = canonical_names(tensor.name for tensor in stored)
    table: dict[str, Stored] = {}
    for tensor in _apart(stored, names):
        name = names.get(tensor.name)
        if name is None or (name.startswith(ignore) and name not in expected):
            continue
        if name in table:
            complaints.add(TWICE, f"{table[name].name} and {tensor.name} are both {name}")
        table[name] = tensor
    return table


def _apart(stored: Sequence[Stored], names: dict[str, str]) -> Iterator[Stored]:
    """Yield stored tensors, one that holds queries, keys and values as the three that it holds.

    `names` gets the names of the three.
    """
    for tensor in stored:
        fused, dot, leaf = names.get(tensor.name, "").rpartition(".to_qkv.")
        info = tensor.info
        if not dot or not info.shape or info.shape[0] % 3:
            yield tensor
            continue
        size = (info.stop - info.start) // 3
        for part, layer in enumerate(("to_q", "to_k", "to_v")):
            start, name = info.start + part * size, f"{tensor.name} ({layer})"
            names[name] = f"{fused}.{layer}.{leaf}"
            shape = (info.shape[0] // 3, *info.shape[1:])
            yield replace(tensor, name=name, info=TensorInfo(info.dtype, shape, start, start + size))


def _plain(name: str, shape: Shape, source: Stored, complaints: Complaints, causal: bool) -> Match | None:
    if source.info.dtype not in SOURCES:
        complaints.add(UNUSABLE, f"{source.name}: {source.info.dtype}, must be one of {', '.join(SOURCES)}")
        return None
    stored, frames = one_frame(source.info.shape, shape) if causal else (source.info.shape, 1)
    return _shaped(Match(name, shape, source, stored, frames=frames), complaints)


def _unpacked(
    name: str, shape: Shape, source: Stored, companions: list[Stored | None], complaints: Complaints
) -> Match | None:
    scales, biases = companions
    accepted = ", ".join(SOURCES)
    if scales is None or biases is None:
        complaints.add(PACKED, f"{source.name}: U32, but its scales or biases are missing")
        return None
    for companion in (scales, biases):
        if companion.info.dtype not in SOURCES:
            complaints.add(UNUSABLE, f"{companion.name}: {companion.info.dtype}, must be one of {accepted}")
            return None
    packed = source.info.shape
    try:
        packing = infer_packing(packed, scales.info.shape, biases.info.shape, shape[-1] if shape else 0)
    except ValueError as error:
        complaints.add(PACKED, f"{source.name}: {error}")
        return None
    quantised = Quantised(scales, biases, packing)
    return _shaped(Match(name, shape, source, (*packed[:-1], shape[-1]), quantised), complaints)


def _shaped(each: Match, complaints: Complaints) -> Match | None:
    if layouts_of(each.stored_shape, each.shape):
        return each
    expected = f"{each.shape} expected"
    if not is_matrix(each.shape) and len(each.shape) > 2:
        expected = f"{pytorch_shape(each.shape)} expected, or {each.shape} from MLX"
    complaints.add(MISSHAPED, f"{each.source.name}: {each.stored_shape} stored, {expected}")
    return None


def _decide_layout(matches: list[Match], complaints: Complaints) -> Layout:
    # One layout for the whole checkpoint, because a shape such as (3, 3, 3, 3) fits both layouts.
    witnesses: dict[Layout, list[Match]] = {layout: [] for layout in Layout}
    for each in matches:
        layouts = layouts_of(each.stored_shape, each.shape)
        if len(layouts) == 1:
            witnesses[next(iter(layouts))].append(each)
    if all(witnesses.values()):
        minority = min(witnesses, key=lambda layout: len(witnesses[layout]))
        for each in witnesses[minority]:
            complaints.add(MIXED, f"{each.source.name}: {each.stored_shape} is {minority.value}")
    return Layout.MLX if witnesses[Layout.MLX] and not witnesses[Layout.PYTORCH] else Layout.PYTORCH


def _in_file_order(matches: list[Match]) -> list[Match]:
    return sorted(matches, key=lambda each: (str(each.source.file.path), each.source.info.start))
