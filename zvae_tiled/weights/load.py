"""Loads weights from files or memory: matches all tensors first, then reads and converts them one at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

import mlx.core as mx

from zvae_tiled.errors import WeightsError
from zvae_tiled.families import Mosaic
from zvae_tiled.weights.arrays import Arrays
from zvae_tiled.weights.complaints import Complaints
from zvae_tiled.weights.find import Checkpoint, find_checkpoint
from zvae_tiled.weights.layout import Layout, Shape, is_matrix
from zvae_tiled.weights.matching import Match, Store, Stored, match
from zvae_tiled.weights.mosaics import laid_out, mosaic_of, shapes_in_file
from zvae_tiled.weights.reading import read_values
from zvae_tiled.weights.safetensors_file import SafetensorsFile
from zvae_tiled.weights.tiny_names import diffusers_names
from zvae_tiled.weights.values import TARGETS, Target, to_mlx

CACHED = 1 << 20
"""Bytes of freed buffers that may wait in MLX's cache. Emptying it costs more than reading a small tensor."""

WIDE = next(target for target in TARGETS if target.dtype == mx.float32)


def load_weights(
    path: str | os.PathLike[str] | Checkpoint | Arrays,
    expected: Mapping[str, tuple[int, ...]],
    dtype: mx.Dtype,
    assign: Callable[[str, mx.array], object],
    ignore: tuple[str, ...] = (),
    wide: Collection[str] = (),
    causal: bool = False,
    mosaics: Mapping[str, Mosaic] = MappingProxyType({}),
) -> None:
    """Read the expected tensors of a checkpoint, each in its final layout and type.

    Names, shapes and types are all checked before the first tensor is read. At its peak this holds the tensors assigned
    so far, and one more in its widest form: float32 for a quantised tensor, else ``dtype``. A tensor that is laid out
    anew is held twice meanwhile: as it is stored, and laid out.

    Args:
        path: A path as in `find_checkpoint`, or its result; or tensors in memory.
        expected: Names as in diffusers, and shapes as in MLX: convolutions (O, H, W, I), linear maps (O, I).
        dtype: ``mx.float32``, ``mx.bfloat16`` or ``mx.float16``, for every tensor.
        assign: Called once for each tensor, with its name and the evaluated array. After an error, the caller must
            discard the tensors assigned so far.
        ignore: Prefixes of names that may be in the checkpoint and are never read, such as ``"encoder."``.
        wide: Names of tensors that are loaded as float32 for every ``dtype``.
        causal: Whether 3-D convolutions are accepted, of which the last temporal slice is kept.
        mosaics: How weights are laid out that are not as they are stored, by the names of their Steps.

    Raises:
        WeightsError: The checkpoint cannot be read or does not fit. The message lists every fault.
    """
    target = _target(dtype)
    source = path if isinstance(path, Checkpoint | Arrays) else find_checkpoint(path)
    complaints = Complaints()
    with _opened(source) as stores:
        where = stores[0].path if len(stores) == 1 else Path(stores[0].path).parent
        stored = _stored(source, stores, complaints)
        matches, layout = match(stored, shapes_in_file(expected, mosaics), ignore, complaints, causal)
        complaints.raise_if_any(
            f"{where} cannot be loaded into this VAE",
            "Check that the weights and the config are of the same model.",
        )
        for each in matches:
            mosaic, shape = mosaic_of(each.name, mosaics), expected[each.name]
            array = _read(each, shape, WIDE if each.name in wide else target, layout, complaints, mosaic)
            if not complaints:
                assign(each.name, array)
            del array
            # Otherwise buffers freed by the conversion pile up in MLX's cache.
            if mx.get_cache_memory() > CACHED:
                mx.clear_cache()
        mx.clear_cache()
    complaints.raise_if_any(
        f"{where} cannot be used as {target.name}",
        "Values beyond float16 need bfloat16 or float32. NaN and Inf mean damaged weights: download them again.",
    )


def headers(source: Checkpoint | Arrays) -> list[Stored]:
    """Return the tensors of a checkpoint, or those in memory. Of files only headers are read.

    Raises:
        WeightsError: A file cannot be read, is not a safetensors file, or does not agree with the index.
    """
    complaints = Complaints()
    with _opened(source) as stores:
        stored = _stored(source, stores, complaints)
    if isinstance(source, Checkpoint):
        complaints.raise_if_any(f"{source.index} cannot be used", "Download the index and its files again.")
    return stored


@contextmanager
def _opened(source: Checkpoint | Arrays) -> Iterator[Sequence[Store]]:
    """Open what holds the tensors. At the end, refuse files that were written to meanwhile."""
    if isinstance(source, Arrays):
        yield [source]
        return
    with ExitStack() as stack:
        files = [stack.enter_context(SafetensorsFile(file)) for file in source.files]
        yield files
        for file in files:
            file.check_unchanged()


def fits(
    stored: Sequence[Stored],
    expected: Mapping[str, tuple[int, ...]],
    ignore: tuple[str, ...] = (),
    causal: bool = False,
) -> bool:
    """Return whether these are exactly the tensors that `load_weights` needs."""
    complaints = Complaints()
    match(stored, expected, ignore, complaints, causal)
    return not complaints


def _target(dtype: mx.Dtype) -> Target:
    for target in TARGETS:
        if target.dtype == dtype:
            return target
    names = ", ".join(target.name for target in TARGETS)
    raise WeightsError(f"dtype must be one of {names}, it is {dtype}.", "bfloat16 suits every published VAE.")


def _stored(source: Checkpoint | Arrays, stores: Sequence[Store], complaints: Complaints) -> list[Stored]:
    if isinstance(source, Arrays) or source.weight_map is None:
        return [each for store in stores for each in _named(store)]
    everything = [Stored(store, name, info) for store in stores for name, info in store.tensors.items()]
    indexed = {(file, name) for name, file in source.weight_map.items()}
    present = {(Path(tensor.file.path), tensor.name) for tensor in everything}
    for file, name in sorted(indexed - present):
        complaints.add("not in the file that the index names", f"{name} in {file.name}")
    for file, name in sorted(present - indexed):
        complaints.add("in a file, but not in the index", f"{name} in {file.name}")
    return everything


def _named(file: Store) -> list[Stored]:
    """Return a store's tensors. Those of a half of TAESD's have their names in the whole."""
    names = diffusers_names(file.tensors)
    return [Stored(file, names[name], info) for name, info in file.tensors.items() if name in names]


def _read(
    tensor: Match, shape: Shape, target: Target, layout: Layout, complaints: Complaints, mosaic: Mosaic | None
) -> mx.array:
    host = read_values(tensor, target, layout, complaints)
    host = host if mosaic is None else laid_out(host, tensor.shape, mosaic, layout)
    array = to_mlx(host, target)
    if layout is Layout.PYTORCH and not is_matrix(tensor.shape) and array.ndim > 2:
        mx.eval(array)
        del host  # before a transposed copy is made
        array = mx.contiguous(mx.moveaxis(array, 1, -1))
    array = array.reshape(shape)
    mx.eval(array)
    return array
