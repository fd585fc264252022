"""Pictures are read in any size, upright, and with all of their bits, or they are refused."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.footprints import LINUX, measured
from tests.support.running import run
from zvae_tiled.errors import ImageError
from zvae_tiled.inputs.depth import SIZ
from zvae_tiled.inputs.latent_files import npy as npy_files
from zvae_tiled.inputs.pictures import read_picture

DATA = Path(__file__).parent.parent / "data"
DEEP = np.random.default_rng(0).integers(0, 1 << 16, (5, 7), np.uint16)
READS_AVIF = ".avif" in Image.registered_extensions()
SHALLOW = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.mark.parametrize("kind", ["png", "tif", "pgm"])
def test_sixteen_bits_of_grey_are_all_read(tmp_path: Path, kind: str) -> None:
    Image.fromarray(DEEP).save(tmp_path / f"deep.{kind}")
    found = read_picture(tmp_path / f"deep.{kind}")
    assert found.dtype == np.float32
    assert np.array_equal(found, np.repeat((DEEP / np.float32(65535)).astype(np.float32)[:, :, None], 3, axis=2))


def test_floats_of_grey_are_read_as_they_are(tmp_path: Path) -> None:
    values = np.random.default_rng(2).random((5, 7), np.float32)
    Image.fromarray(values).save(tmp_path / "floats.tif")
    assert np.array_equal(read_picture(tmp_path / "floats.tif")[:, :, 1], values)


@pytest.mark.parametrize(("kind", "bits"), [("png", 16), ("tif", 16), ("tif", 32)])
def test_what_pillow_would_cut_to_eight_bits_is_refused_with_advice(place: Path, kind: str, bits: int) -> None:
    run("decode", "a.npy", "-o", f"deep.{kind}", "--bits", f"{bits}", "-q")
    with pytest.raises(ImageError, match=r"Use a \.npy of floats"):
        read_picture(place / f"deep.{kind}")


def test_integers_of_unknown_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(DEEP.astype(np.int32)).save(tmp_path / "integers.tif")
    with pytest.raises(ImageError, match="more than 8 bits"):
        read_picture(tmp_path / "integers.tif")


@pytest.mark.parametrize("levels", [15, 255])
def test_levels_of_a_ppm_that_fit_8_bits_are_read(tmp_path: Path, levels: int) -> None:
    (tmp_path / "few.ppm").write_bytes(f"P6 2 1 {levels}\n".encode() + bytes([0, levels, 0, levels, 0, levels]))
    assert read_picture(tmp_path / "few.ppm").tolist() == [[[0, 255, 0], [255, 0, 255]]]


DEPTHS = {
    "jp2": [(b"ihdr", 14, b"\x0f"), (SIZ, 42, b"\x0f"), (SIZ, 45, b"\x0f"), (SIZ, 48, b"\x0f")],
    "j2k": [(SIZ, 48, b"\x09")],
}
"""What to write behind a mark of a file with 8 bits, so that it says to have more: mark, how far behind it, byte."""


def test_a_picture_of_8_bits_is_read_from_any_format(tmp_path: Path) -> None:
    for kind in ("jp2", "j2k", "ppm", "tif", *(["avif"] if READS_AVIF else [])):
        Image.fromarray(SHALLOW).save(tmp_path / f"shallow.{kind}")
        assert read_picture(tmp_path / f"shallow.{kind}").shape == SHALLOW.shape


AVIF = pytest.mark.skipif(not READS_AVIF, reason="this Pillow knows no AVIF")


@pytest.mark.parametrize("kind", ["ppm", "pnm", "tif", pytest.param("avif", marks=AVIF), *DEPTHS])
def test_colours_and_greys_of_other_depths_are_refused(tmp_path: Path, kind: str) -> None:
    """Pillow reads all of them with 8 bits, or as darker."""
    path = tmp_path / f"deep.{kind}"
    if kind in DEPTHS:
        Image.fromarray(SHALLOW).save(path)
        content = bytearray(path.read_bytes())
        for mark, behind, byte in DEPTHS[kind]:
            place = content.index(mark) + behind
            content[place : place + 1] = byte
    else:
        made = {"ppm": b"P6 1 1 65535\n" + bytes(6), "pnm": b"P3 1 1 1023\n1023 0 5\n", "tif": grey_of_12_bits()}
        content = bytearray(made.get(kind) or (DATA / "ten_bits.avif").read_bytes())
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"more than 8 bits a channel.*\n*.*Use a \.npy of floats"):
        read_picture(path)


def grey_of_12_bits() -> bytes:
    """A TIFF of two pixels."""
    tags = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 3)]
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 12) + b"\xff\xff\xff\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("kind", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_upright_as_its_exif_says(tmp_path: Path, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(SHALLOW).save(tmp_path / f"turned.{kind}", exif=exif, lossless=True)
    upright = {
        1: SHALLOW,
        2: SHALLOW[:, ::-1],
        3: SHALLOW[::-1, ::-1],
        4: SHALLOW[::-1],
        5: SHALLOW.swapaxes(0, 1),
        6: np.rot90(SHALLOW, -1),
        7: SHALLOW[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(SHALLOW),
    }[orientation]
    claimed: list[tuple[int, int]] = []
    picture = read_picture(tmp_path / f"turned.{kind}", lambda *sides: claimed.append(sides))
    assert np.array_equal(picture, upright)
    assert claimed == [upright.shape[:2]]


@pytest.mark.parametrize("limit", [10, 20])
def test_no_picture_is_too_large_and_the_limit_of_others_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Pillow warns of a picture larger than its limit, and refuses one twice as large."""
    Image.fromarray(SHALLOW).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert read_picture(tmp_path / "large.png").shape == (5, 7, 3)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_the_limit_of_others_stays_when_pictures_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(SHALLOW).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    inside, first = threading.Barrier(2), threading.Event()

    def read(ends_first: bool) -> None:
        def check(*_: int) -> None:
            inside.wait(60)
            assert ends_first or first.wait(60)

        assert read_picture(tmp_path / "a.png", check).shape == (5, 7, 3)
        first.set()

    with ThreadPoolExecutor(2) as threads:
        for ended in [threads.submit(read, ends_first) for ends_first in (True, False)]:
            ended.result(60)
    assert Image.MAX_IMAGE_PIXELS == 10


def png(width: int, height: int, rows: bytes) -> bytes:
    """A PNG with one bit a pixel."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@LINUX
@pytest.mark.usefixtures("installed_bytecode")
def test_a_small_file_that_claims_a_large_picture_is_refused_before_it_makes_memory(tmp_path: Path) -> None:
    claims = {
        "false.png": (
            png(50_000, 50_000, b""),
            "claims 50000x50000 pixels; the limit for a file of 65 bytes is 4,194,304",
        ),
        "true.png": (png(20_000, 20_000, bytes(2501 * 20_000)), "claims 20000x20000 pixels"),
        "false.npy": (npy("(100000, 100000, 3)"), "needs 120,000,000,000 bytes for shape (100000, 100000, 3)"),
        "long.npy": (npy(f"({'1,' * 60})", 4), "(1, 1, 1, 1, 1, 1, 1, 1, … 60 axes)"),
    }
    for name, (content, _) in claims.items():
        (tmp_path / name).write_bytes(content)
    read = "from zvae_tiled.inputs.pictures import read_picture as read; "
    read += "from zvae_tiled.errors import ImageError as Refused"
    load = "; import PIL.Image, PIL.ImageOps, zvae_tiled.inputs.latent_files; PIL.Image.init()"
    costs = measured(read + load, [tmp_path / name for name in claims])
    for (name, (_, said)), (size, told) in zip(claims.items(), costs, strict=True):
        assert said in told, name
        assert size <= 16 << 20, name


def npy(shape: str, size: int = 0) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(size)


@pytest.mark.slow
@LINUX
@pytest.mark.usefixtures("installed_bytecode")
def test_a_blank_picture_of_usual_size_is_read_and_costs_64_mib_at_most(tmp_path: Path) -> None:
    Image.new("RGB", (2048, 2048)).save(tmp_path / "blank.png")
    read = "from zvae_tiled.inputs.pictures import read_picture as read; "
    read += "from zvae_tiled.errors import ImageError as Refused; import PIL.Image, PIL.ImageOps; PIL.Image.init()"
    ((size, told),) = measured(read, [tmp_path / "blank.png"])
    assert (told, size <= 64 << 20) == ("read", True), size
    assert read_picture(tmp_path / "blank.png").shape == (2048, 2048, 3)


def test_a_picture_is_refused_by_its_size_before_its_pixels_are_read(place: Path) -> None:
    (place / "short.png").write_bytes(png(2048, 1024, b""))
    (place / "odd.png").write_bytes(png(2047, 1024, b""))
    assert "needs at least" in run("encode", "short.png", "-o", "e.npy", "--budget", "30MB", code=4).stderr
    assert "must be multiples of" in run("encode", "odd.png", "-o", "e.npy", code=3).stderr
    (place / "none.png").write_bytes(b"no picture")
    refused = run("encode", "none.png", "-o", "e.npy", code=3).stderr
    assert "none.png cannot be read as a picture: it is none that Pillow knows" in refused
    assert "_io" not in refused
    assert "cannot be read as a picture" in run("encode", "short.png", "-o", "e.npy", code=3).stderr


@pytest.mark.parametrize("shape", [(9, 7), (1, 1, 9, 7)])
def test_an_array_of_another_shape_is_refused_before_it_is_read(
    tmp_path: Path, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.float32))
    monkeypatch.setattr(npy_files, "read_values", lambda *_: pytest.fail("it was read"))
    with pytest.raises(ImageError, match=r"must hold \(height, width, channels\), its shape is"):
        read_picture(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["pipe.png", "pipe.npy"])
def test_a_named_pipe_is_refused_and_not_waited_for(name: str, place: Path) -> None:
    os.mkfifo(place / name)
    Image.fromarray(SHALLOW).save(place / "a.png")
    assert "must be a regular file, it is a named pipe" in run("encode", name, "-o", "e.npy", code=3).stderr
    assert "must be a regular file, it is a named pipe" in run("compare", "a.png", name, code=3).stderr


def test_whatever_pillow_raises_is_an_image_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise Image.DecompressionBombError("a bomb")

    monkeypatch.setattr(Image, "open", fails)
    (tmp_path / "any.png").touch()
    with pytest.raises(ImageError, match="a bomb"):
        read_picture(tmp_path / "any.png")
