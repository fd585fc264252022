"""Several outputs of one decode on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.decoding import files
from tests.support.running import run


def test_one_decode_writes_a_picture_and_its_floats(place: Path) -> None:
    told = run("decode", "a.npy", "-o", "a.png", "-o", "floats/", "-o", "{stem}.tif")
    assert told.stderr.count("decoded ") == 1
    assert "written    a.png, floats/a.png, a.tif" in told.stderr
    with Image.open("a.png") as one, Image.open("floats/a.png") as two, Image.open("a.tif") as three:
        assert one.tobytes() == two.tobytes() == three.tobytes()


def test_several_inputs_have_several_outputs_each(place: Path) -> None:
    run("decode", "[ab].npy", "-o", "out/", "-o", "out/{stem}.safetensors", "-q")
    assert sorted(path.name for path in (place / "out").iterdir()) == [
        "a.png",
        "a.safetensors",
        "b.png",
        "b.safetensors",
    ]
    assert (
        "exists"
        in run("decode", "a.npy", "b.npy", "-o", "out/", "-o", "out/{stem}.safetensors", "--skip-existing").stderr
    )


@pytest.mark.parametrize(
    ("outs", "code", "said"),
    [
        (["a.png", "a.png"], 2, "Several files would be written to a.png"),
        (["a.png", "-"], 2, "Standard output (-) takes one picture"),
        (["a.png", "a.gif"], 5, "pictures are written as"),
        (["a.png", "a.npy"], 2, "is an input"),
        (["o-{name}.tif"], 2, "-o o-{name}.tif: the only pattern is {stem}, which is the input's name"),
        (["{stem"], 2, "the only pattern is {stem}"),
        (["{none}/{stem}.png"], 2, "the only pattern is {stem}"),
    ],
)
def test_outputs_that_cannot_be_had_together(outs: list[str], code: int, said: str, place: Path) -> None:
    before = files(place)
    words = [word for out in outs for word in ("-o", out)]
    assert said in " ".join(run("decode", "a.npy", *words, code=code).stderr.split())
    assert files(place) == before


def test_the_command_to_try_next_names_all_outputs(place: Path) -> None:
    told = run("decode", "a.npy", "-o", "x.png", "-o", "x.npy", "--budget", "1kB", code=4).stderr
    command = next(line for line in told.splitlines() if "zvae decode" in line).split("zvae ", 1)[1].split()
    run(*command, "-q")
    assert np.load("x.npy").ndim == 3
    assert Path("x.png").exists()
