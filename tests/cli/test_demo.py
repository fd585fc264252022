"""`zvae demo`: a picture, its plan, predicted and measured memory, and a comparison with the full decode."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.running import run
from zvae_tiled import VAE
from zvae_tiled.demo import latents


def test_the_picture_is_the_middle_of_what_the_library_decodes(place: Path) -> None:
    told = run("demo", "--size", "64").stdout
    middle = latents("album")[:, :, 124:132, 124:132]
    (want,) = VAE.demo("float32").decode(middle, output_type="pil")
    with Image.open(place / "demo.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(want))
    assert "1 x 64x64 exact decode, float32 on cpu" in told
    sizes = {name: float(size) for name, size in re.findall(r"^(predicted|measured) +([\d.]+) MB$", told, re.M)}
    assert 0 < sizes["measured"] <= sizes["predicted"]
    found = re.search(r"Compared with a full decode by the plain model, for 32x32 of it: (\d+) dB", told)
    assert found is not None
    assert int(found[1]) > 90


def test_quiet_and_budget(place: Path) -> None:
    assert run("demo", "--size", "64", "-o", "cat.png", "-q").output == ""
    assert (place / "cat.png").is_file()
    assert "zvae demo --budget" in run("demo", "--size", "64", "--budget", "1kB", code=4).stderr
