"""Loads weights: matches all tensors first, then reads, converts and assigns them one at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack

import mlx.core as mx

from zvae_tiled.errors import WeightsError
from zvae_tiled.weights.complaints import Complaints
from zvae_tiled.weights.find import Checkpoint, find_checkpoint
from zvae_tiled.weights.layout import Layout, is_matrix
from zvae_tiled.weights.matching import Match, Stored, match
from zvae_tiled.weights.reading import read_values
from zvae_tiled.weights.safetensors_file import SafetensorsFile
from zvae_tiled.weights.tiny_names import diffusers_names
from zvae_tiled.weights.values import TARGETS, Target, to_mlx

WIDE = next(target for target in TARGETS if target.dtype == mx.float32)


def load_weights(
    path: str | os.PathLike[str] | Checkpoint,
    expected: Mapping[str, tuple[int, ...]],
    dtype: mx.Dtype,
    assign: Callable[[str, mx.array], object],
    ignore: tuple[str, ...] = (),
    wide: Collection[str] = (),
    causal: bool = False,
) -> None:
    """Read the expected tensors of a checkpoint, each in its final layout and type.

    Names, shapes and types are all checked before the first tensor is read. At its peak this holds the tensors assigned
    so far, and one more in its widest form: float32 for a quantised tensor, else ``dtype``.

    Args:
        path: A path as in `find_checkpoint`, or its result.
        expected: Names as in diffusers, and shapes as in MLX: convolutions (O, H, W, I), linear maps (O, I).
        dtype: ``mx.float32``, ``mx.bfloat16`` or ``mx.float16``, for every tensor.
        assign: Called once for each tensor, with its name and the evaluated array. After an error, the caller must
            discard the tensors assigned so far.
        ignore: Prefixes of names that may be in the checkpoint and are never read, such as ``"encoder."``.
        wide: Names of tensors that are loaded as float32 for every ``dtype``.
        causal: Whether 3-D convolutions are accepted, of which the last temporal slice is kept.

    Raises:
        WeightsError: The checkpoint cannot be read or does not fit. The message lists every fault.
    """
    target = _target(dtype)
    checkpoint = path if isinstance(path, Checkpoint) else find_checkpoint(path)
    with ExitStack() as stack:
        files = [stack.enter_context(SafetensorsFile(file)) for file in checkpoint.files]
        where = checkpoint.files[0] if len(files) == 1 else checkpoint.files[0].parent
        complaints = Complaints()
        stored = _stored(checkpoint, files, complaints)
        matches, layout = match(stored, expected, ignore, complaints, causal)
        complaints.raise_if_any(
            f"{where} cannot be loaded into this VAE",
            "Check that the weights and the config are of the same model.",
        )
        for each in matches:
            array = _read(each, WIDE if each.name in wide else target, layout, complaints)
            if not complaints:
                assign(each.name, array)
            del array
            # Otherwise buffers freed by the conversion pile up in MLX's cache.
            mx.clear_cache()
        for file in files:
            file.check_unchanged()
        complaints.raise_if_any(
            f"{where} cannot be used as {target.name}",
            "Values beyond float16 need bfloat16 or float32. NaN and Inf mean a damaged file: download it again.",
        )


def headers(checkpoint: Checkpoint) -> list[Stored]:
    """Return the tensors of a checkpoint. Only headers are read.

    Raises:
        WeightsError: A file cannot be read, is not a safetensors file, or does not agree with the index.
    """
    complaints = Complaints()
    with ExitStack() as stack:
        files = [stack.enter_context(SafetensorsFile(file)) for file in checkpoint.files]
        stored = _stored(checkpoint, files, complaints)
    complaints.raise_if_any(f"{checkpoint.index} cannot be used", "Download the index and its files again.")
    return stored


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


def _stored(checkpoint: Checkpoint, files: Sequence[SafetensorsFile], complaints: Complaints) -> list[Stored]:
    if checkpoint.weight_map is None:
        return [each for file in files for each in _named(file)]
    everything = [Stored(file, name, info) for file in files for name, info in file.tensors.items()]
    indexed = {(file, name) for name, file in checkpoint.weight_map.items()}
    present = {(tensor.file.path, tensor.name) for tensor in everything}
    for file, name in sorted(indexed - present):
        complaints.add("not in the file that the index names", f"{name} in {file.name}")
    for file, name in sorted(present - indexed):
        complaints.add("in a file, but not in the index", f"{name} in {file.name}")
    return everything


def _named(file: SafetensorsFile) -> list[Stored]:
    """Return a file's tensors. Those of a half of TAESD's have their names in the whole."""
    names = diffusers_names(file.tensors)
    return [Stored(file, names[name], info) for name, info in file.tensors.items() if name in names]


def _read(tensor: Match, target: Target, layout: Layout, complaints: Complaints) -> mx.array:
    host = read_values(tensor, target, layout, complaints)
    array = to_mlx(host, target)
    mx.eval(array)
    del host  # before a transposed copy is made
    if layout is Layout.PYTORCH and not is_matrix(tensor.shape) and array.ndim > 2:
        array = mx.contiguous(mx.moveaxis(array, 1, -1))
    array = array.reshape(tensor.shape)
    mx.eval(array)
    return array
