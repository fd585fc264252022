"""OpenCV, tifffile and libvips read every pixel of the files written here."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest

from tests.sinks.cases import Picture

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
