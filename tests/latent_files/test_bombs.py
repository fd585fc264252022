"""No file below 1 MiB costs more than 64 MiB, whatever it claims; real bombs, measured in processes of their own."""

from __future__ import annotations

import io
import json
import os
import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from tests.latent_files.bombs import BOMBS
from tests.support.footprints import LINUX, measured
from tests.support.leftovers import state
from zvae_tiled import read_latent_file
from zvae_tiled.errors import LatentsError
from zvae_tiled.inputs.latent_files.npz import ALWAYS
from zvae_tiled.planner.budget import available_memory

MIB = 1 << 20

READ = "from zvae_tiled import read_latent_file as read; from zvae_tiled.errors import LatentsError as Refused"


def made(place: Path, name: str) -> Path:
    """Write the bomb of this name."""
    (place / name).write_bytes(BOMBS[name][0]())
    assert (place / name).stat().st_size < MIB
    return place / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bombs")
    for name in BOMBS:
        made(place, name)
    return place


@LINUX
@pytest.mark.usefixtures("installed_bytecode")
@pytest.mark.parametrize("nth", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_no_bomb_costs_more_than_64_mib(nth: int, tmp_path: Path) -> None:
    names = list(BOMBS)[::nth]
    for name, (size, told) in zip(names, measured(READ, [made(tmp_path, name) for name in names]), strict=True):
        assert size <= 64 * MIB, f"{name}: {size:,}"
        assert BOMBS[name][1] in told, name


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize(
    ("dtype", "order"), list(zip(["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"], "CFFCCF", strict=True))
)
@pytest.mark.usefixtures("installed_bytecode")
def test_the_largest_that_is_unpacked_of_a_small_file_costs_no_more_either(
    dtype: str, order: Literal["C", "F"], tmp_path: Path
) -> None:
    columns = ALWAYS // np.dtype(dtype).itemsize // 1024
    np.savez_compressed(tmp_path / "a.npz", np.zeros((1, 16, 64, columns), dtype, order))
    np.savez_compressed(tmp_path / "b.npz", np.zeros((1, 16, 64, columns + 1), dtype, order))
    (size, told), (_, refused) = measured(READ, [tmp_path / "a.npz", tmp_path / "b.npz"])
    assert told == "read"
    assert size <= 64 * MIB
    assert "would unpack to" in refused


@pytest.mark.parametrize("ending", [".npy", ".safetensors"])
def test_what_memory_has_no_room_for_is_refused_unread(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Holes in a file take no space on the disk, and in memory as much as they claim."""
    count = available_memory().size // 32 // 1024
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': (1, 16, 1024, {count}), }}".ljust(117) + "\n"
    stated = json.dumps({"a": {"dtype": "F32", "shape": [1, 16, 1024, count], "data_offsets": [0, count << 16]}})
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
    path = tmp_path / f"latents{ending}"
    path.write_bytes(head if ending == ".npy" else struct.pack("<Q", len(stated)) + stated.encode())
    os.truncate(path, path.stat().st_size + (count << 16))
    monkeypatch.setattr(np, "empty", lambda *_, **__: pytest.fail("its memory is taken"))
    with pytest.raises(LatentsError, match=r"reading .* takes .*B, .* available"):
        read_latent_file(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_a_few_words_and_leaves_nothing(name: str, folder: Path) -> None:
    before = state()
    for file in (folder / name, io.BytesIO((folder / name).read_bytes())):
        with pytest.raises(LatentsError) as refused:
            read_latent_file(file)
        assert BOMBS[name][1] in str(refused.value)
        assert len(str(refused.value)) < 4_000
        assert refused.value.advice
        del refused
    assert state() == before


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_large_latents_are_read(save: Any, tmp_path: Path) -> None:
    """A 16th of the latents of a 16384x16384 picture: all of them would take as long as all other tests here."""
    latents = np.random.default_rng(0).standard_normal((1, 16, 512, 512), np.float32)
    latents[:, :, :256] = 0  # and half of it is blank
    save(tmp_path / "a.npz", latents)
    assert np.array_equal(read_latent_file(tmp_path / "a.npz").array, latents)


def test_a_large_array_beside_the_latents_does_not_matter(tmp_path: Path) -> None:
    latents = np.ones((1, 4, 2, 3), np.float32)
    np.savez_compressed(tmp_path / "a.npz", latents=latents, mask=np.zeros((3000, 3000), np.int32))
    assert np.array_equal(read_latent_file(tmp_path / "a.npz").array, latents)
    with pytest.raises(LatentsError, match="mask"):
        read_latent_file(tmp_path / "a.npz", "mask")
