"""OpenCV, tifffile, libvips and GDAL (rasterio) read every pixel of the files written here."""

from __future__ import annotations

import warnings
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.sinks.cases import Picture
from tests.sinks.readers import read_pyramid

pytestmark = pytest.mark.peers


def pictures(endings: tuple[str, ...], folder: Path) -> list[tuple[Path, Picture]]:
    drawn = [Picture.drawn(Random(seed), endings, most=530) for seed in range(30)]
    paths = []
    for number, picture in enumerate(drawn):
        place = folder / str(number)
        place.mkdir()
        paths.append(picture.write(place))
    return list(zip(paths, drawn, strict=True))


def test_opencv(tmp_path: Path) -> None:
    import cv2

    for path, picture in pictures((".png", ".tiff"), tmp_path):
        channels = picture.stored.shape[-1]
        # OpenCV has no pictures of two channels, and multiplies the colours of a TIFF by their alpha.
        if channels == 2 or (channels == 4 and picture.ending == ".tiff"):
            continue
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        want = picture.stored[..., {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]]
        assert np.array_equal(pixels.reshape(want.shape), want)


def test_tifffile(tmp_path: Path) -> None:
    import tifffile

    for path, picture in pictures((".tiff",), tmp_path):
        assert np.array_equal(tifffile.imread(path).reshape(picture.stored.shape), picture.stored)


def test_libvips(tmp_path: Path) -> None:
    import pyvips

    for path, picture in pictures((".png", ".tiff"), tmp_path):
        pixels = pyvips.Image.new_from_file(str(path)).numpy()
        assert np.array_equal(pixels.reshape(picture.stored.shape), picture.stored)


def pyramid(folder: Path, bits: int, channels: int = 3) -> tuple[Path, list[Any]]:
    values = np.random.default_rng(bits).random((700, 1111, channels), np.float32)
    path = Picture(values, [700], ".ptif", bits).write(folder)
    levels = read_pyramid(path)
    assert [level.shape[:2] for level in levels] == [(700, 1111), (350, 556), (175, 278), (88, 139)]
    return path, levels


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_pyramid_in_tifffile(bits: int, tmp_path: Path) -> None:
    import tifffile

    path, levels = pyramid(tmp_path, bits)
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        assert len(file.series) == 1
        for found, want in zip(file.series[0].levels, levels, strict=True):
            assert np.array_equal(found.asarray(), want)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_pyramid_in_libvips(bits: int, tmp_path: Path) -> None:
    import pyvips

    path, levels = pyramid(tmp_path, bits)
    for number, want in enumerate(levels):
        found = pyvips.Image.tiffload(str(path), subifd=number - 1)  # -1 is the picture itself
        assert np.array_equal(found.numpy(), want)
    assert pyvips.Image.new_from_file(str(path)).get("n-subifds") == len(levels) - 1


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_pyramid_in_gdal(bits: int, tmp_path: Path) -> None:
    import rasterio

    path, levels = pyramid(tmp_path, bits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # it is no map
        with rasterio.open(path) as file:
            assert np.array_equal(file.read().transpose(1, 2, 0), levels[0])
            assert file.overviews(1) == [2, 4, 8]
        for number, want in enumerate(levels[1:]):
            with rasterio.open(path, overview_level=number) as file:
                assert np.array_equal(file.read().transpose(1, 2, 0), want)
