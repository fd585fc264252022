"""Damaged safetensors files, beside the reference reader: alone, and as the checkpoint of a VAE."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save

from tests.campaign.mutations import damaged, damaged_json, reasons, tampered
from tests.campaign.part import Case
from tests.support.checkpoints import with_header
from tests.support.models import random_tensors, torch_shapes
from tests.support.running import CONFIG
from zvae_tiled import VAE
from zvae_tiled.errors import InputError, WeightsError
from zvae_tiled.weights.safetensors_file import SafetensorsFile

MANY = 100
"""Files of a case of `attempt`."""

STRICTER = ("more than once", "exactly dtype", "only whole numbers", "the limit is")
"""Why a file is refused that the reference takes: `tests/weights/test_header.py` has an example of each."""

TYPES = ("<f8", "<f4", "<f2", "<u4", "<i8", "u1", "?")


def attempt(case: Case) -> int:
    """Read many damaged files."""
    path = case.folder / "weights.safetensors"
    for _ in range(MANY):
        content = file_like(case.rng)
        path.write_bytes(content)
        try:
            judge(path, content)
        except Exception as error:
            raise AssertionError(f"the file {content[:600]!r}") from error
    return MANY


def file_like(rng: Random) -> bytes:
    """Return a safetensors file that is damaged somewhere."""
    tensors = {
        rng.choice(["a", "b.weight", "é", "", "x" * 40, f"{number}"]): np.zeros(
            [rng.randint(0, 3) for _ in range(rng.randint(0, 4))], rng.choice(TYPES)
        )
        for number in range(rng.randint(0, 4))
    }
    content = save(tensors, {"format": "pt"} if rng.random() < 0.3 else None)
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    if rng.random() < 0.4:
        return with_header(json.dumps(tampered(rng, json.loads(header))).encode(), data)
    if rng.random() < 0.5:
        return with_header(damaged(rng, header), data)  # whose length is right
    return damaged(rng, content)


def judge(path: Path, content: bytes) -> None:
    """Check that a file is refused if the reference reader refuses it, and else read as the reference reads it."""
    want = _reference(content)
    try:
        file = SafetensorsFile(path)
    except WeightsError as error:
        reasons(error)
        assert want is None or any(words in str(error) for words in STRICTER), f"refused by us alone: {error}"
        return
    with file:
        assert want is not None, "the reference refuses it"
        assert file.tensors.keys() == want.keys()
        for name, info in file.tensors.items():
            values = bytearray(info.stop - info.start)
            file.read_tensor(info, 0, memoryview(values))
            assert (info.dtype, info.shape, bytes(values)) == want[name], name


def _reference(content: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]] | None:
    try:
        entries: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(content)
    except safetensors.SafetensorError:
        return None
    return {name: (entry["dtype"], tuple(entry["shape"]), bytes(entry["data"])) for name, entry in entries}


CHECKPOINT = random_tensors(torch_shapes(CONFIG))


def attempt_checkpoint(case: Case) -> None:
    """Load a damaged checkpoint: one file, or shards of which one, or the index, is damaged."""
    rng, folder = case.rng, case.folder
    config = folder / "config.json"
    config.write_text(json.dumps({"_class_name": CONFIG.class_name, **asdict(CONFIG)}))
    parts = {"diffusion_pytorch_model.safetensors": CHECKPOINT}
    if rng.random() < 0.6:
        names = list(CHECKPOINT)
        parts = {f"part-{n}.safetensors": {name: CHECKPOINT[name] for name in names[n::3]} for n in range(3)}
        index = json.dumps({"weight_map": {name: part for part, tensors in parts.items() for name in tensors}})
        whole = index.encode() if rng.random() < 0.2 else damaged_json(rng, index)
        (folder / "diffusion_pytorch_model.safetensors.index.json").write_bytes(whole)
    hit = rng.choice([None, *parts])
    contents = {part: damaged(rng, save(tensors)) if part == hit else save(tensors) for part, tensors in parts.items()}
    for part, content in contents.items():
        (folder / part).write_bytes(content)
    try:
        vae = VAE.load(folder, "float32", decoder_only=False)
    except InputError as error:
        reasons(error)
        return
    stored: dict[str, np.ndarray] = {}
    for content in contents.values():
        stored |= safetensors.numpy.load(content)
    check_loaded(vae, stored)


def check_loaded(vae: VAE, stored: dict[str, np.ndarray]) -> None:
    """Check that a VAE has the stored values of every name that it shares with a file."""
    for name, array in vae.weights.items():
        if name in stored:
            values = np.asarray(stored[name], np.float32)
            values = values.transpose(0, 2, 3, 1) if values.ndim == 4 else values
            assert np.array_equal(np.asarray(array).reshape(values.shape), values), name
    assert set(vae.weights) <= set(stored), set(vae.weights) - set(stored)
