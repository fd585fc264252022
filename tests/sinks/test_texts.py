"""Texts of a latent file go into the picture: as ComfyUI reads them, with a limit, and none that could do harm."""

from __future__ import annotations

import io
import json
import logging
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.sinks.readers import read_png, read_tiff
from tests.support.models import random_latents
from tests.support.running import CONFIG, run, save_vae
from zvae_tiled import VAE, Latents, read_latent_file, write_latent_file
from zvae_tiled.errors import LatentsError
from zvae_tiled.order import Order
from zvae_tiled.order import run as carry_out
from zvae_tiled.sinks import file_target
from zvae_tiled.sinks.kinds import KINDS
from zvae_tiled.sinks.texts import MOST_BYTES, MOST_TEXTS, MOST_WARNINGS, kept_texts, size_of

WORKFLOW = json.dumps({"nodes": [{"id": 1, "type": "KSampler", "title": "Küste"}], "links": []})
PROMPT = json.dumps({"1": {"class_type": "KSampler", "inputs": {"seed": 7}}})
TEXTS = {"prompt": PROMPT, "workflow": WORKFLOW, "parameters": "a lighthouse,\nSteps: 9", "note": "größer 灯台 🗼"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A VAE, and a file of latents as ComfyUI's SaveLatent writes it."""
    save_vae(tmp_path / "vae")
    monkeypatch.chdir(tmp_path)
    save(TEXTS)
    return tmp_path


def save(texts: dict[str, str], name: str = "a.latent") -> None:
    tensors = {"latent_tensor": random_latents(CONFIG, 6, 8), "latent_format_version_0": np.array([], np.float32)}
    save_file(tensors, name, metadata=texts)


def comfyui_reads(path: Path) -> dict[str, str]:
    """The texts of a PNG by the rules of ComfyUI's page: a keyword, NUL, and UTF-8 to the end of a tEXt chunk."""
    data, at, texts = path.read_bytes(), 8, {}
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        keyword, _, text = data[at + 8 : at + 8 + length].partition(b"\0")
        if kind == b"tEXt":
            texts[keyword.decode()] = text.decode()
        at += 12 + length
    return texts


def test_a_rescued_picture_has_its_workflow_as_comfyui_reads_it(place: Path) -> None:
    run("decode", "a.latent", "-o", "a.png", "--vae", "vae", "-q")
    texts = comfyui_reads(place / "a.png")
    assert json.loads(texts["workflow"]) == json.loads(WORKFLOW)
    assert json.loads(texts["prompt"]) == json.loads(PROMPT)
    with Image.open("a.png") as image:
        assert {name: image.info[name] for name in TEXTS} == TEXTS
        assert image.info["srgb"] == 0
        assert image.info["Software"].startswith("zvae_tiled ")
    assert read_png(place / "a.png")[1].items() >= TEXTS.items()


def test_the_texts_are_in_every_format_that_has_a_place(place: Path) -> None:
    outs = ["a.png", "a.tif", "a.jpg", "a.webp", "a.safetensors", "a.npy"]
    vae, latents = VAE.load("vae"), read_latent_file("a.latent")
    assert latents.texts == TEXTS
    vae.decode_to_file(latents, outs)
    tiff = json.loads(read_tiff(place / "a.tif")[1][270][0].rstrip(b"\0"))
    with safe_open("a.safetensors", "numpy") as opened:
        arrays = opened.metadata()
    described = []
    for name in ("a.jpg", "a.webp"):
        with Image.open(name) as image:
            described.append(json.loads(image.getexif()[0x010E]))
    for texts in (tiff, arrays, *described):
        assert texts.items() >= TEXTS.items()
        assert texts["zvae_quality"] == "exact"
    np.load("a.npy")
    body = io.BytesIO()
    vae.decode_to_file(latents, body, format="png")
    assert body.getvalue() == (place / "a.png").read_bytes()


def test_the_pixels_do_not_depend_on_the_texts_and_nobody_has_to_keep_them(place: Path) -> None:
    run("decode", "a.latent", "-o", "with.png", "--vae", "vae", "-q")
    run("decode", "a.latent", "-o", "without.png", "--vae", "vae", "-q", "--no-metadata")
    carry_out(Order("decode", "vae", "a.latent", "order.png", texts=False))
    VAE.load("vae").decode_to_file(read_latent_file("a.latent", texts=False), "python.png")
    with_them, without = (read_png(place / name) for name in ("with.png", "without.png"))
    assert np.array_equal(with_them[0], without[0])
    assert not TEXTS.keys() & without[1].keys()
    assert (
        (place / "order.png").read_bytes()
        == (place / "python.png").read_bytes()
        == (place / "without.png").read_bytes()
    )


def test_texts_survive_our_own_file_and_a_preview_has_them(place: Path) -> None:
    write_latent_file("b.safetensors", Latents(random_latents(CONFIG, 6, 8), texts={**TEXTS, "layout": "NHWC"}))
    again = read_latent_file("b.safetensors")
    assert (again.texts, again.layout, again.scaled) == (TEXTS, None, True)
    VAE.load("vae").preview(again).write("look.png")
    assert read_png(place / "look.png")[1].items() >= TEXTS.items()
    for name in ("c.npz", "c.npy"):
        write_latent_file(name, again)
        assert read_latent_file(name).texts == {}


BAD = {
    "nul": "a\0b",
    "escape": "\x1b[31mred",
    "bell": "\x07",
    "c1": "\x9b31m",
    "half": "\ud83d",
    "": "no name",
    " space": "in front",
    "end ": "behind",
    "tab\tname": "x",
    "two  spaces": "x",
    "größe": "x",
    "n" * 80: "x",
}


@pytest.mark.parametrize("name", BAD)
def test_a_text_that_could_do_harm_is_left_out_and_said(name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert kept_texts({name: BAD[name], "prompt": "a lighthouse\n\tand a boat"}, MOST_BYTES, "a.png") == {
        "prompt": "a lighthouse\n\tand a boat"
    }
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("a.png: the text ")
    assert record.getMessage().isprintable()


def test_a_path_of_another_type_is_named_as_a_path(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Named:
        def __fspath__(self) -> str:
            return str(tmp_path / "a.png")

    file_target(Named(), (1, 2, 2, 3), texts={"bad": BAD["bell"]})
    assert caplog.messages[0].startswith(f"{tmp_path}/a.png: the text 'bad' is left out")


def test_bad_texts_of_a_file_are_one_line_each_and_the_picture_is_written(place: Path) -> None:
    save({"prompt": PROMPT, "bad": "\x1b[2J", "long": "x" * (MOST_BYTES + 1)})
    told = run("decode", "a.latent", "-o", "a.png", "--vae", "vae").stderr
    assert [line.split(": ")[1] for line in told.splitlines() if line.startswith("warning")] == [
        "the text 'bad' is left out",
        "the text 'long' is left out",
    ]
    texts = read_png(place / "a.png")[1]
    assert "prompt" in texts
    assert not {"bad", "long"} & texts.keys()
    said = run("decode", "a.latent", "-o", "a.png", "--vae", "vae", "--no-metadata").stderr
    assert "warning" not in said


def test_a_format_with_less_room_says_what_it_has_no_place_for(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    save({"workflow": "w" * 70_000, "prompt": PROMPT})
    VAE.load("vae").decode_to_file(read_latent_file("a.latent"), ["a.jpg", "a.png", "a.npy"])
    (record,) = caplog.records
    left = 60_000 - size_of({"prompt": PROMPT})
    want = f"a.jpg: the text 'workflow' is left out: it is longer than the {left:,} bytes that are left for it"
    assert record.getMessage() == want
    with Image.open("a.jpg") as image:
        assert json.loads(image.getexif()[0x010E])["prompt"] == PROMPT
    assert len(comfyui_reads(place / "a.png")["workflow"]) == 70_000


@pytest.mark.parametrize(
    ("ending", "letter"),
    list(product([".jpg", ".webp", ".png", ".tif", ".safetensors"], ["x", "ß", "🗼", '"', "\n"])),
)
@pytest.mark.sample(3)
def test_every_format_holds_as_much_as_it_says(ending: str, letter: str, place: Path) -> None:
    room = KINDS[ending].text_room
    text = letter * ((room - size_of({"t": ""})) // (size_of({"t": letter}) - size_of({"t": ""})))
    assert room - 12 <= size_of({"t": text}) <= room
    path = Path(f"a{ending}")
    VAE.load("vae").decode_to_file(Latents(random_latents(CONFIG, 2, 2), texts={"t": text}), path)
    if ending == ".png":
        assert read_png(path)[1]["t"] == text
    elif ending == ".safetensors":
        with safe_open(path, "numpy") as opened:
            assert opened.metadata()["t"] == text
    elif ending == ".tif":
        assert json.loads(read_tiff(path)[1][270][0].rstrip(b"\0"))["t"] == text
    else:
        with Image.open(path) as image:
            assert json.loads(image.getexif()[0x010E])["t"] == text


def test_the_limit_is_that_of_all_texts_together(caplog: pytest.LogCaptureFixture) -> None:
    third = "x" * (MOST_BYTES // 3)
    texts = {"c": third, "a": third, "b": third, "d": "short"}
    assert list(kept_texts(texts, MOST_BYTES, "f")) == ["d", "a", "b"], "a long one does not cost the others"
    many = {f"t{number}": "x" for number in range(MOST_TEXTS + 5)}
    assert len(kept_texts(many, MOST_BYTES, "f")) == MOST_TEXTS
    assert len(caplog.records) == 1 + 5
    caplog.clear()
    kept_texts({f"t{number}": "x" for number in range(10_000)}, MOST_BYTES, "f")
    assert len(caplog.messages) == MOST_WARNINGS + 1
    assert caplog.messages[-1] == f"f: {10_000 - MOST_TEXTS - MOST_WARNINGS:,} more texts are left out"


def test_our_notes_are_not_replaced(place: Path) -> None:
    save(
        {
            "Software": "Photoshop",
            "zvae_vae": "another",
            "format": "pt",
            "height": "12",
            "width": "16",
            "scaled": "true",
        }
    )
    latents = read_latent_file("a.latent")
    assert latents.texts == {}
    forged = Latents(latents.array, texts={"Software": "Photoshop", "zvae_vae": "another"})
    VAE.load("vae").decode_to_file(forged, "a.png")
    texts = read_png(place / "a.png")[1]
    assert texts["Software"].startswith("zvae_tiled ")
    assert texts["zvae_vae"] != "another"


@pytest.mark.parametrize("texts", ["prompt", ["prompt"], {"prompt": 3}, {3: "prompt"}, {"prompt": b"bytes"}])
def test_texts_that_are_no_text_are_refused(texts: Any, place: Path) -> None:
    with pytest.raises(LatentsError, match="texts must be a dict of text"):
        VAE.load("vae").decode_to_file(Latents(random_latents(CONFIG, 2, 2), texts=texts), "a.png")
    assert not Path("a.png").exists()


def test_a_header_of_100_mb_is_refused_before_it_is_read(place: Path) -> None:
    with open("a.latent", "wb") as file:
        file.write((100 << 20).to_bytes(8, "little") + b'{"__metadata__":{"prompt":"')
        file.truncate(101 << 20)
    with pytest.raises(LatentsError, match="the limit is"):
        read_latent_file("a.latent")
