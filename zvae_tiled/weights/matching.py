"""Which stored tensor becomes which tensor of the model; all of it decided before the first byte is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zvae_tiled.weights.complaints import Complaints
from zvae_tiled.weights.header import TensorInfo
from zvae_tiled.weights.layout import Layout, Shape, is_matrix, layouts_of, pytorch_shape
from zvae_tiled.weights.names import canonical_names
from zvae_tiled.weights.quantised import Packing, infer_packing
from zvae_tiled.weights.safetensors_file import SafetensorsFile
from zvae_tiled.weights.values import SOURCES

TWICE = "stored twice"
UNUSABLE = "of a type that cannot be weights"
PACKED = "quantised in a way that does not add up"
MISSHAPED = "mis-shaped"
MIXED = "some convolutions are (O, I, H, W), others (O, H, W, I)"
MISSING = "missing"
EXTRA = "not part of this VAE"


@dataclass(frozen=True)
class Stored:
    """One tensor of a checkpoint: where it is and what its header says."""

    file: SafetensorsFile
    name: str
    info: TensorInfo


@dataclass(frozen=True)
class Quantised:
    """What else a quantised tensor needs: scales and biases, and how its integers are packed."""

    scales: Stored
    biases: Stored
    packing: Packing


@dataclass(frozen=True)
class Match:
    """One tensor of the model and the stored one it is made from.

    Attributes:
        name: Its canonical name.
        shape: The model's shape, in MLX's layout.
        source: The stored tensor.
        stored_shape: The stored shape; of a quantised tensor, unpacked.
        quantised: Set where the source is packed integers.
    """

    name: str
    shape: Shape
    source: Stored
    stored_shape: Shape
    quantised: Quantised | None = None


def match(
    stored: Sequence[Stored],
    expected: Mapping[str, Shape],
    ignore: tuple[str, ...],
    complaints: Complaints,
) -> tuple[list[Match], Layout]:
    """Pair every expected tensor with a stored one.

    Args:
        stored: Every tensor of the checkpoint.
        expected: Canonical names and shapes, in MLX's layout.
        ignore: Canonical prefixes of what may be there and is never read.
        complaints: Receives every fault; the result is only good if there are none.

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
            found = _unpacked(name, shape, source, [table.get(leaf) for leaf in companions], complaints)
        else:
            found = _plain(name, shape, source, complaints)
        matches += [found] if found is not None else []
    for name in sorted(table.keys() - used):
        original = table[name].name
        complaints.add(EXTRA, original if original == name else f"{original} (is {name})")
    return _in_file_order(matches), _decide_layout(matches, complaints)


def _by_canonical_name(
    stored: Sequence[Stored], expected: Mapping[str, Shape], ignore: tuple[str, ...], complaints: Complaints
) -> dict[str, Stored]:
    names = canonical_names(tensor.name for tensor in stored)
    table: dict[str, Stored] = {}
    for tensor in stored:
        name = names.get(tensor.name)
        if name is None or (name.startswith(ignore) and name not in expected):
            continue
        if name in table:
            complaints.add(TWICE, f"{table[name].name} and {tensor.name} are both {name}")
        table[name] = tensor
    return table


def _plain(name: str, shape: Shape, source: Stored, complaints: Complaints) -> Match | None:
    if source.info.dtype not in SOURCES:
        complaints.add(UNUSABLE, f"{source.name}: {source.info.dtype}, must be one of {', '.join(SOURCES)}")
        return None
    return _shaped(Match(name, shape, source, source.info.shape), complaints)


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


def _shaped(found: Match, complaints: Complaints) -> Match | None:
    if layouts_of(found.stored_shape, found.shape):
        return found
    wanted = f"{found.shape} expected"
    if not is_matrix(found.shape) and len(found.shape) > 2:
        wanted = f"{pytorch_shape(found.shape)} expected, or {found.shape} from MLX"
    complaints.add(MISSHAPED, f"{found.source.name}: {found.stored_shape} stored, {wanted}")
    return None


def _decide_layout(matches: list[Match], complaints: Complaints) -> Layout:
    # Once for the whole checkpoint: a convolution such as (3, 3, 3, 3) cannot tell by itself.
    witnesses: dict[Layout, list[Match]] = {layout: [] for layout in Layout}
    for found in matches:
        layouts = layouts_of(found.stored_shape, found.shape)
        if len(layouts) == 1:
            witnesses[next(iter(layouts))].append(found)
    if all(witnesses.values()):
        minority = min(witnesses, key=lambda layout: len(witnesses[layout]))
        for found in witnesses[minority]:
            complaints.add(MIXED, f"{found.source.name}: {found.stored_shape} is {minority.value}")
    return Layout.MLX if witnesses[Layout.MLX] and not witnesses[Layout.PYTORCH] else Layout.PYTORCH


def _in_file_order(matches: list[Match]) -> list[Match]:
    return sorted(matches, key=lambda found: (str(found.source.file.path), found.source.info.start))
