"""`zvae encode`: latents that come back as the picture, and what is refused before the encode."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from tests.cli.pictures import write
from tests.support.running import run
from zvae_tiled import VAE, read_latent_file
from zvae_tiled.errors import ImageError, OutputError
from zvae_tiled.inputs.latent_files.write import HEADER
from zvae_tiled.jobs.orders import outline, shape_of
from zvae_tiled.order import Order
from zvae_tiled.order import run as carry_out


def test_a_picture_is_encoded_and_comes_back(place: Path) -> None:
    picture = write(place / "a.png", 0)
    want = VAE.load(place / "vae", decoder_only=False).encode(picture)
    told = run("encode", "[a].png", "-o", "e.safetensors", "--budget", "50MB").stderr
    assert "in other MLX arrays before the encode" in told
    assert "[images] no file matches *.jpg" in run("encode", "*.jpg", "-o", "e.npy", code=3).stderr
    file = read_latent_file(place / "e.safetensors")
    assert file.layout == "NCHW"
    assert mx.array_equal(file.array, want.mean)
    assert "zvae decode -o picture.png e.safetensors" in run("encode", "e.safetensors", "-o", "f.npy", code=3).stderr
    assert (
        "e.safetensors: there is a file of that name\n                Use another name, or use --overwrite."
        in run("encode", "a.png", "-o", "e.safetensors", "--no-overwrite", code=5).stderr
    )
    assert "skipped    e.safetensors" in run("encode", "a.png", "-o", "e.safetensors", "--skip-existing").stderr
    run("decode", "e.safetensors", "-o", "d.png", "-q")
    with Image.open(place / "d.png") as image:
        assert image.size == (20, 12)


@pytest.mark.parametrize(
    ("out", "code", "said"),
    [
        ("e.xyz", 5, "not as '.xyz'"),
        ("none/e.npy", 5, "the folder none does not exist"),
        ("-", 2, "Only zvae decode and zvae video take -"),
        ("p.npy", 2, "p.npy is an input"),
    ],
)
def test_a_file_that_latents_cannot_go_to_is_refused_before_the_encode(
    place: Path, monkeypatch: pytest.MonkeyPatch, out: str, code: int, said: str
) -> None:
    monkeypatch.setattr(VAE, "encode", lambda *_, **__: pytest.fail("it was encoded first"))
    np.save(place / "p.npy", write(place / "a.png", 0).astype(np.float32))
    assert said in run("encode", "p.npy", "-o", out, code=code).stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [("deep.ppm", "more than 8 bits a channel"), ("one.npy", "one.npy has 1 channel, and 3 are encoded")],
)
def test_a_picture_that_its_header_refuses_is_refused_with_the_others_that_are_checked(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    (place / "deep.ppm").write_bytes(b"P6 20 12 65535\n" + bytes(20 * 12 * 6))
    np.save(place / "one.npy", np.zeros((12, 20, 1), np.float32))
    write(place / "a.png", 0)
    order = Order("encode", str(place / "vae"), name, "e.npy")
    with pytest.raises(ImageError, match=said):
        shape_of(order, outline(order))
    monkeypatch.setattr(VAE, "encode", lambda *_, **__: pytest.fail("it was encoded first"))
    assert said in run("encode", name, "-o", "e.npy", code=3).stderr


@pytest.mark.parametrize("ending", ["safetensors", "npz"])
def test_a_disk_without_room_for_the_latents_is_refused_before_the_encode(
    place: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    write(place / "a.png", 0)
    order = Order("encode", str(place / "vae"), "a.png", f"e.{ending}", dtype="float32")
    carry_out(order)
    size, needed = (place / order.target).stat().st_size, 4 * 6 * 10 * 4 + HEADER
    assert size <= needed
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    monkeypatch.setattr(VAE, "encode", lambda *_, **__: pytest.fail("it was encoded first"))
    with pytest.raises(OutputError, match=rf"e.{ending} may need {needed:,} bytes; . has {needed - 1:,} free"):
        carry_out(order)


@pytest.mark.parametrize("seed", [-1, 1 << 64])
def test_a_seed_is_one_of_the_generator_s(place: Path, seed: int) -> None:
    write(place / "a.png", 0)
    assert "--sample" in run("encode", "a.png", "-o", "e.npy", "--sample", f"{seed}", code=2).stderr
    run("encode", "a.png", "-o", "e.npy", "--sample", f"{(1 << 64) - 1}", "-q")


def test_what_the_encoder_cannot_take_is_refused_or_cropped(place: Path) -> None:
    write(place / "odd.png", 0, height=13)
    refused = run("encode", "odd.png", "-o", "e.npy", code=3).stderr
    assert "multiples of 2" in refused
    assert "Use --crop, which cuts right and bottom edges" in refused
    write(place / "dot.png", 0, height=1, width=1)
    assert "at least 2, they are 1 and 1" in run("encode", "dot.png", "-o", "e.npy", "--crop", code=3).stderr
    Image.new("RGB", (1, 13)).save("thin.png")
    assert "they are 13 and 1" in run("encode", "thin.png", "-o", "e.npy", "--crop", code=3).stderr
    with pytest.raises(ImageError, match="they are 13 and 1"):
        carry_out(Order("encode", str(place / "vae"), "thin.png", "e.npy", crop=True))
    run("encode", "odd.png", "-o", "e.npy", "--crop", "--sample", "1", "-q", "--dtype", "float32")
    run("encode", "odd.png", "-o", "f.npy", "--crop", "--sample", "2", "-q", "--dtype", "float32")
    drawn = [np.load(place / name) for name in ("e.npy", "f.npy")]
    assert drawn[0].shape == (1, 4, 6, 10)
    assert not np.array_equal(*drawn)
    assert "needs at least" in run("encode", "odd.png", "-o", "e.npy", "--crop", "--budget", "1kB", code=4).stderr
