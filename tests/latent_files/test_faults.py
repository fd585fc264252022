"""A file without sound latents raises a LatentsError that names it. No code in it runs, no other error escapes."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from http.client import IncompleteRead
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tests.support.leftovers import state
from zvae_tiled import read_latent_file, write_latent_file
from zvae_tiled.cli.spoken import spoken
from zvae_tiled.errors import LatentsError, OutputError

LATENTS = np.random.default_rng(0).standard_normal((1, 4, 6, 5)).astype(np.float32)


class Evil:
    """Leaves a mark if a pickle of it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.mark),))


def refused(path: Any, name: str | None = None) -> LatentsError:
    with pytest.raises(LatentsError) as error:
        read_latent_file(path, name)
    assert error.value.advice, "what to do next"
    return error.value


@pytest.mark.parametrize("kind", ["pickle", "npy", "npz", "torch"])
def test_pickles_are_never_opened(kind: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / f"latents.{kind}"
    evil = np.array([Evil(mark)], dtype=object)
    with path.open("wb") as file:
        if kind == "pickle":
            pickle.dump(Evil(mark), file)
        elif kind == "npy":
            np.save(file, evil, allow_pickle=True)
        elif kind == "npz":
            np.savez(file, latents=evil)
        else:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("archive/data.pkl", pickle.dumps(Evil(mark)))
    text = str(refused(path)) + str(refused(path, "latents") if kind == "npz" else "")
    assert str(path) in text
    assert "pickle" in text or "object" in text
    assert "state_dict" not in text, "these are latents"
    assert not mark.exists()


def test_latents_beside_objects_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", latents=LATENTS, prompt=np.array(["a cat", None], dtype=object))
    assert np.array_equal(read_latent_file(tmp_path / "a.npz").array, LATENTS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\x00" * 100, "zeros"),
        (b"GGUF" + bytes(40), "GGUF"),
        (b"<html>Not Found</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-LFS"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "is a picture (PNG)"),
        (b"II*\0\x08" + bytes(40), "is a picture (TIFF)"),
        (b"nothing known" + bytes(40), "is not a valid safetensors file"),
        (b"PK\x03\x04" + bytes(40), "is not a valid .npz"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': open  ", "no valid .npy header"),
        (b"\x93NUMPY\x03\x00\x10\x00\x00\x00{'descr': '<f4'}", "no valid .npy header"),
    ],
)
def test_other_things(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "latents"
    path.write_bytes(content)
    assert reason in refused(path).problem
    assert str(path) in refused(path).problem
    assert "the stream" in refused(io.BytesIO(content)).problem
    assert ("zvae encode PICTURE -o latents.safetensors" in refused(path).advice) == ("a picture" in reason)


def test_a_download_that_breaks_off() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise IncompleteRead(b"half")

    assert "the stream cannot be read: IncompleteRead" in refused(Broken()).problem


def test_the_one_array_of_a_npy_has_no_name(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((1, 4, 2, 2), np.float32))
    error = refused(tmp_path / "a.npy", "latents")
    assert "holds one array, without a name, and 'latents' is asked for" in error.problem
    assert error.advice == "Leave out name=."
    assert spoken(error.advice) == "Leave out --tensor."


def test_a_stream_of_text() -> None:
    error = refused(io.StringIO("latents"))
    assert "the stream must be a stream of bytes, its read() returns str" in error.problem
    assert '"rb"' in error.advice


def test_places_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "a folder" in refused(tmp_path).problem
    assert "a named pipe" in refused(tmp_path / "pipe").problem
    assert "No such file" in refused(tmp_path / "missing.npy").problem


@pytest.mark.parametrize("shape", [(1 << 40, 4), (1 << 63, 1 << 63), (4, 4)])
def test_an_npy_that_claims_more_or_less_than_it_has(shape: tuple[int, ...], tmp_path: Path) -> None:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(60))
    assert "bytes for shape" in refused(path).problem


def test_a_field_that_numpy_refuses_in_a_header_is_refused(tmp_path: Path) -> None:
    path, content = tmp_path / "a.npy", io.BytesIO()
    np.save(content, np.zeros((1, 4, 2, 2), np.float32))
    more = b"'more': 0, "
    path.write_bytes(content.getvalue().replace(b"{", b"{" + more, 1).replace(b" " * len(more) + b"\n", b"\n", 1))
    with pytest.raises(ValueError, match="correct keys"):
        np.load(path)
    assert "its fields are ['descr', 'fortran_order', 'more', 'shape']" in refused(path).problem


@pytest.mark.parametrize("blank", [b"\xa0", b"\x1f", b"\x85", b" "])
def test_blanks_that_numpy_refuses_in_a_header_are_refused(blank: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, LATENTS)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"  \n", blank + b" \n", 1))
    if blank == b" ":
        assert np.array_equal(read_latent_file(path).array, np.load(path))
        return
    with pytest.raises(ValueError, match="header"):
        np.load(path)
    assert "no valid .npy header" in refused(path).problem


@pytest.mark.parametrize("kind", ["safetensors", "npy", "npz"])
def test_damage_is_refused_or_does_not_matter_and_never_escapes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    write_latent_file(path, LATENTS)
    whole, rng, before = path.read_bytes(), Random(0), state()[0]
    for _ in range(250):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(min(len(data), 400 if rng.random() < 0.7 else len(data)))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            read_latent_file(path)
        except LatentsError as error:
            assert str(path) in error.problem
    assert state()[0] == before, "open files"
    for cut in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:cut])
        refused(path)


def test_a_checksum_that_is_wrong(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", latents=LATENTS)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[300] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    assert "CRC" in refused(tmp_path / "a.npz").problem


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"height": "64"}, "height is 64, width is None; both are needed"),
        ({"height": "64", "width": "-8"}, "width must be the picture's width in pixels, it is '-8'"),
        ({"height": "six", "width": "8"}, "height must be the picture's height in pixels, it is 'six'"),
        ({"height": "0", "width": "8"}, "height must be"),
        ({"height": "9" * 5000, "width": "8"}, "height must be"),
        ({"packed": "maybe"}, "packed must be true or false, it is 'maybe'"),
        ({"scaled": "0.13025"}, "scaled must be true or false"),
        ({"scaled": "true", "scale": "false"}, "contradict"),
        ({"layout": "CHWN"}, "layout must be NCHW or NHWC"),
        ({"packed": "true", "layout": "NCHW"}, "packed tokens have no layout"),
        ({"packed": "true"}, "packed tokens have 2 or 3 axes"),
    ],
)
def test_metadata_without_a_meaning(said: dict[str, str], reason: str, tmp_path: Path) -> None:
    safetensors.numpy.save_file({"latents": LATENTS}, tmp_path / "a.safetensors", said)
    texts: dict[str, Any] = {name: np.array(text) for name, text in said.items()}
    np.savez(tmp_path / "a.npz", latents=LATENTS, **texts)
    for name in ("a.safetensors", "a.npz"):
        assert reason in refused(tmp_path / name).problem
        assert name in refused(tmp_path / name).problem


def test_names_from_a_file_are_shown_as_they_are_not_obeyed(tmp_path: Path) -> None:
    tensors = {f"\x1b[31mred {i}": LATENTS for i in range(50)}
    safetensors.numpy.save_file(tensors, tmp_path / "a.safetensors")
    text = str(refused(tmp_path / "a.safetensors"))
    assert "\x1b" not in text
    assert "and 30 more" in text


def test_a_file_of_nothing(tmp_path: Path) -> None:
    safetensors.numpy.save_file({}, tmp_path / "a.safetensors")
    assert "holds no latents" in refused(tmp_path / "a.safetensors").problem
    safetensors.numpy.save_file({"x": np.zeros((0, 4), np.float32)}, tmp_path / "a.safetensors")
    assert "holds no latents" in refused(tmp_path / "a.safetensors").problem


def test_a_path_that_is_none() -> None:
    for path in (None, 3, ""):
        with pytest.raises((LatentsError, OutputError, ValueError), match="path must be a path"):
            read_latent_file(path)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_an_axis_beyond_what_mlx_counts_is_refused_before_it_is_read(dtype: str, tmp_path: Path) -> None:
    size = (1 << 31) * (2 if dtype == "BF16" else 4)
    header = json.dumps({"latents": {"dtype": dtype, "shape": [1, 1 << 31], "data_offsets": [0, size]}}).encode()
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)  # a hole: nothing is on the disk
    assert "an axis has at most 2,147,483,647 values" in str(refused(tmp_path / "a.safetensors"))
