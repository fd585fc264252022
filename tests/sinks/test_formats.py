"""Any picture, its rows written in any bands: independent readers find every pixel."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from tests.sinks.cases import FILES, NOTES, Picture
from tests.sinks.readers import read_png, read_tiff
from zvae_tiled.sinks.kinds import KINDS
from zvae_tiled.sinks.tiff import Tiff


def with_pillow(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


@pytest.mark.parametrize("seed", range(40))
def test_a_png_holds_every_pixel(seed: int, tmp_path: Path) -> None:
    picture = Picture.drawn(Random(seed), (".png",))
    path = picture.write(tmp_path)
    pixels, texts = read_png(path)
    assert pixels.dtype == picture.stored.dtype
    assert np.array_equal(pixels, picture.stored)
    assert texts == NOTES
    with Image.open(path) as image:
        assert image.size == (picture.values.shape[1], picture.values.shape[0])
        assert {key: image.info[key] for key in NOTES} == NOTES
        image.load()


@pytest.mark.parametrize("seed", range(40))
def test_a_streamed_png_equals_one_written_at_once(seed: int, tmp_path: Path) -> None:
    picture = Picture.drawn(Random(seed), (".png",), most=300)
    if picture.bits == 16 and picture.stored.shape[-1] > 1:
        picture.bits = 8  # Pillow has no mode for 16 bits of colour
    stored = picture.stored
    at_once = io.BytesIO()
    Image.fromarray(stored[..., 0] if stored.shape[-1] == 1 else stored).save(at_once, "PNG")
    with Image.open(at_once) as image:
        want = np.asarray(image).reshape(stored.shape)
    assert np.array_equal(with_pillow(picture.write(tmp_path)), want)


@pytest.mark.parametrize("seed", range(40))
def test_a_tiff_holds_every_pixel(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(seed)
    picture = Picture.drawn(rng, (".tif", ".tiff"), most=rng.choice([40, 300, 530]))
    big = rng.random() < 0.5
    if big:  # as if it were of 4 GB
        monkeypatch.setattr(Tiff, "largest", classmethod(lambda cls, shape, bits: 1 << 32))
    path = picture.write(tmp_path)
    assert path.read_bytes()[2] == (43 if big else 42)
    pixels, fields = read_tiff(path)
    assert np.array_equal(pixels, picture.stored)
    assert pixels.dtype == picture.stored.dtype
    assert json.loads(fields[270][0].rstrip(b"\0")) == NOTES
    assert fields[305][0] == NOTES["Software"].encode() + b"\0"
    if picture.bits == 8 or picture.stored.shape[-1] == 1:  # Pillow has no mode for the others
        assert np.array_equal(with_pillow(path), picture.stored)


def test_a_tiff_is_big_when_noise_could_make_it_larger_than_4_gb() -> None:
    assert Tiff.largest((16384, 16384, 4), 32) >> 32
    assert not Tiff.largest((16384, 16384, 3), 16) >> 32


@pytest.mark.parametrize("seed", range(20))
def test_a_tiff_does_not_depend_on_how_rows_come(seed: int, tmp_path: Path) -> None:
    picture = Picture.drawn(Random(seed), (".tif",), most=300)
    first = picture.write(tmp_path).read_bytes()
    picture.bands = [1] * len(picture.values)
    assert picture.write(tmp_path).read_bytes() == first


@pytest.mark.parametrize("seed", range(30))
def test_an_npy_holds_every_number_and_can_be_mapped(seed: int, tmp_path: Path) -> None:
    picture = Picture.drawn(Random(seed), (".npy",))
    mapped = np.load(picture.write(tmp_path), mmap_mode="r", allow_pickle=False)
    assert mapped.dtype == picture.stored.dtype
    assert np.array_equal(mapped, picture.stored)
    del mapped


@pytest.mark.parametrize("seed", range(30))
def test_a_safetensors_file_holds_every_number(seed: int, tmp_path: Path) -> None:
    picture = Picture.drawn(Random(seed), (".safetensors",))
    with safe_open(picture.write(tmp_path), "numpy") as opened:
        assert list(opened.keys()) == ["picture"]
        assert opened.metadata() == NOTES
        pixels = opened.get_tensor("picture")
    assert pixels.dtype == picture.stored.dtype
    assert np.array_equal(pixels, picture.stored)


@pytest.mark.parametrize("seed", range(30))
def test_jpeg_and_webp_are_what_pillow_makes_of_the_whole_picture(seed: int, tmp_path: Path) -> None:
    picture = Picture.drawn(Random(seed), (".jpg", ".jpeg", ".webp"), most=60)
    path, stored = picture.write(tmp_path), picture.stored
    at_once = io.BytesIO()
    whole = Image.fromarray(stored[..., 0] if stored.shape[-1] == 1 else stored)
    options: dict[str, Any] = {} if path.suffix == ".webp" else {"subsampling": 0}
    whole.save(at_once, "WEBP" if path.suffix == ".webp" else "JPEG", quality=95, **options)
    with Image.open(at_once) as want:
        assert np.array_equal(with_pillow(path), np.asarray(want).reshape(stored.shape))
    with Image.open(path) as image:
        exif = image.getexif()
        assert exif[0x0131] == NOTES["Software"]
        assert json.loads(exif[0x010E]) == NOTES


def test_no_file_is_larger_than_was_foreseen(tmp_path: Path) -> None:
    seen = Counter[str]()
    for seed in range(120):
        picture = Picture.drawn(Random(seed), most=60)
        rng = np.random.default_rng(seed)
        picture.values = np.asarray(rng.random(picture.values.shape) ** rng.choice([0.1, 1, 10]), np.float32)
        path, kind = picture.write(tmp_path), KINDS[picture.ending]
        assert path.stat().st_size <= kind.largest(picture.values.shape, picture.bits)
        seen[picture.ending] += 1
    assert seen.keys() == set(FILES)
