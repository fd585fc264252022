"""Damaged files of latents, beside NumPy's and the reference's readers."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import safetensors
from safetensors.numpy import save

from tests.campaign.mutations import damaged, reasons
from tests.campaign.part import Case
from zvae_tiled import read_latent_file
from zvae_tiled.errors import LatentsError

MANY = 20


def attempt(case: Case) -> int:
    """Read some damaged files of one kind."""
    kind = case.rng.choice(["npy", "npz", "safetensors"])
    for _ in range(MANY):
        content = damaged(case.rng, file_of(case.rng, kind))
        path = case.folder / f"latents.{kind}"
        path.write_bytes(content)
        judge(path, content)
    return MANY


def judge(path: Path, content: bytes) -> None:
    """Check that a file of latents is refused with a reason, or read as others read it."""
    try:
        latents = read_latent_file(path)
    except LatentsError as error:
        reasons(error)
        return
    found = [each for each in _reference(content) if _same(latents.array, each)]
    assert found, f"it is not what others read: {content[:600]!r}"


def file_of(rng: Random, kind: str) -> bytes:
    """Return a file of latents: ``npy``, ``npz`` or ``safetensors``."""
    shape = (rng.randint(1, 2), rng.choice([4, 16]), rng.randint(1, 4), rng.randint(1, 4))
    dtype = rng.choice(["<f4", "<f4", "<f2", "<f8"] if kind == "safetensors" else ["<f4", ">f4", "<f2", "<f8", ">f8"])
    array = np.random.default_rng(rng.getrandbits(32)).standard_normal(shape).astype(dtype)
    if kind == "safetensors":
        return save(
            {"latents": array}, {"height": "8", "width": "8", "prompt": "a cat"} if rng.random() < 0.5 else None
        )
    file = io.BytesIO()
    if kind == "npy":
        np.save(file, np.asfortranarray(array) if rng.random() < 0.3 else array)
    elif rng.random() < 0.5:
        np.savez(file, latents=array, height=np.array(8), width=np.array(8))
    else:
        np.savez_compressed(file, latents=array)
    return file.getvalue()


def _reference(content: bytes) -> list[np.ndarray]:
    """All arrays that others read in the file."""
    if content.startswith((b"\x93NUMPY", b"PK")):
        return _numpys(content)
    try:
        entries: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(content)
    except safetensors.SafetensorError:
        return []
    types = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}
    return [
        np.frombuffer(bytes(entry["data"]), types[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] in types
        else np.array(
            mx.array(np.frombuffer(bytes(entry["data"]), "<u2")).view(mx.bfloat16).astype(mx.float32)
        ).reshape(entry["shape"])
        for _, entry in entries
        if entry["dtype"] in (*types, "BF16")
    ]


def _numpys(content: bytes) -> list[np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read = np.load(io.BytesIO(content), allow_pickle=False, max_header_size=1 << 20)
            if isinstance(read, np.ndarray):
                return [read]
            found = []
            for name in read.files:
                try:
                    found.append(read[name])
                except (OSError, ValueError, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError):
                    continue
            return found
        except Exception:
            return []


def _same(ours: mx.array, theirs: np.ndarray) -> bool:
    wide = np.asarray(ours.astype(mx.float32))
    if theirs.dtype == np.dtype("V2"):
        theirs = np.asarray(mx.array(theirs.view("<u2")).view(mx.bfloat16).astype(mx.float32))
    if theirs.dtype.kind != "f":
        return False
    with np.errstate(all="ignore"):
        return wide.shape == theirs.shape and np.array_equal(wide, theirs.astype(np.float32), equal_nan=True)
