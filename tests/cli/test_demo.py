"""`zvae demo`: a picture, its plan, predicted and measured memory, and a comparison with the full decode."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.running import run
from zvae_tiled import VAE
from zvae_tiled.demo import latents


def test_the_picture_is_the_middle_of_what_the_library_decodes(place: Path) -> None:
    ran = run("demo", "--size", "64")
    told = ran.stdout
    assert "comparing  the middle 32x32 is decoded in full too" in ran.stderr, "the comparison is not silent"
    middle = latents("album")[:, :, 124:132, 124:132]
    (want,) = VAE.demo("float32").decode(middle, output_type="pil")
    with Image.open(place / "demo.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(want))
    picture, memory, time, exact, took = told.splitlines()
    assert picture == "picture    demo.png: 64x64, the middle of 2048x2048 (all: --size 2048)"
    sizes = re.fullmatch(r"memory     ([\d.]+) MB predicted, ([\d.]+) MB measured, of the budget of .+", memory)
    assert sizes is not None
    assert 0 < float(sizes[2]) <= float(sizes[1])
    assert re.fullmatch(r"time       .+ predicted if idle, .+ measured \(\d+ GFLOP/s\)", time)
    same = r"exact      middle 32x32: the pixels of a full decode, to rounding \(PSNR (\d+) dB\)"
    found = re.fullmatch(same, exact)
    assert found is not None
    assert int(found[1]) > 90
    assert re.fullmatch(r"           these \d+x\d+ alone: .+ MB in a full decode, .+ MB in bands", took)
    assert max(map(len, told.splitlines())) <= 80


def test_quiet_and_budget(place: Path) -> None:
    assert run("demo", "--size", "64", "-o", "cat.png", "-q").output == ""
    assert (place / "cat.png").is_file()
    assert "100 is none. Write 96 or 104." in run("demo", "--size", "100", code=2).stderr
    assert "zvae demo --budget" in run("demo", "--size", "64", "--budget", "1kB", code=4).stderr


@pytest.mark.slow
def test_the_default_budget_counts_what_is_compressed(place: Path) -> None:
    """A PNG of this size is compressed by blocks on all cores, which a plan without a file does not count."""
    run("demo", "--size", "512", "-q", "-o", "cat.png")
    with Image.open(place / "cat.png") as image:
        assert image.size == (512, 512)
