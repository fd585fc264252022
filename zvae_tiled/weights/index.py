"""Reads a shard index, which names the file of each tensor. Only files beside the index are accepted."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from zvae_tiled.checks import once
from zvae_tiled.errors import WeightsError
from zvae_tiled.files.opening import open_regular, unreadable
from zvae_tiled.weights.content import recognise
from zvae_tiled.wording import listed

MAX_INDEX_BYTES = 16 << 20
"""The largest index that is read. The index of a model of 100,000 tensors has 10 MB."""

_ADVICE = "Download the index again, or pass one safetensors file."


def read_index(path: Path) -> Mapping[str, Path]:
    """Return the file that holds each tensor, by the tensor's name.

    Raises:
        WeightsError: It cannot be read, is not an index, or names a file that is not beside it.
    """
    table = _parse(path, _read(path))
    weight_map = table.get("weight_map") if isinstance(table, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise WeightsError(f"{path} must have a weight_map of tensors to files, it has none.", _ADVICE)
    files: dict[str, Path] = {}
    for tensor, file in weight_map.items():
        if not isinstance(file, str) or not is_plain_name(file):
            problem = f"{path} must name files beside it, it names {file!r:.120} for {tensor!r:.120}."
            raise WeightsError(problem, "Do not use it: a genuine index never points to another folder.")
        # The path is not resolved: in Hugging Face's cache the file is a link to ../../blobs.
        files[tensor] = path.parent / file
    absent = sorted({file.name for file in files.values() if not os.path.exists(file)})  # False too for a name too long
    if absent:
        problem = f"{path} names files that are not beside it: {listed(absent)}."
        raise WeightsError(problem, "Download them.")
    return files


def is_plain_name(name: str) -> bool:
    """Return whether a name, joined to a folder, is a file in that folder on every operating system."""
    plain = all(flavour(name).name == name for flavour in (PurePosixPath, PureWindowsPath))
    return plain and name not in ("", ".", "..") and name.isprintable()


def _read(path: Path) -> bytes:
    file, state = open_regular(path)
    with file:
        if state.st_size > MAX_INDEX_BYTES:
            problem = f"{path} has {state.st_size:,} bytes; a shard index has at most {MAX_INDEX_BYTES:,}."
            raise WeightsError(problem, _ADVICE)
        try:
            return file.read(MAX_INDEX_BYTES) or b""
        except OSError as error:
            raise unreadable(path, error) from error


def _parse(path: Path, raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        what = recognise(raw[:256])
        if what is not None and not raw.startswith(b"{"):
            raise WeightsError(f"{path} must be a shard index, it is {what[0]}.", what[1]) from error
        problem = f"{path} must be a shard index, but it is not valid JSON: {error}."
        raise WeightsError(problem, _ADVICE) from error
