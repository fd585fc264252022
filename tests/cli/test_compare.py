"""`zvae compare`: pictures by the metrics, a decode with the full one, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.pictures import write
from tests.support.running import run, save_latents
from zvae_tiled import VAE
from zvae_tiled.cli.full import full_decode
from zvae_tiled.devices import here
from zvae_tiled.errors import InputError
from zvae_tiled.inputs.latents import read_latents
from zvae_tiled.planner import storage
from zvae_tiled.planner.budget import Available
from zvae_tiled.planner.full import full_plan
from zvae_tiled.report import metrics
from zvae_tiled.sinks.pillow import WebP


def test_two_pictures_are_compared_by_the_metrics(place: Path) -> None:
    ours, theirs = write(place / "a.png", 0), write(place / "b.png", 1)
    told = run("compare", "a.png", "b.png", "--heat-map", "heat.png").stdout
    assert f"PSNR        {metrics.psnr(ours, theirs):.1f} dB" in told
    assert f"largest     {metrics.max_error(ours, theirs):.3g} of the range" in told
    assert "seams" not in told
    with Image.open(place / "heat.png") as image:
        drawn = np.asarray(image).astype(int)
    assert np.abs(drawn - metrics.heat_map(ours, theirs)).max() <= 1, "the command reads pictures as float32"
    assert "inf dB" in run("compare", "a.png", "a.png").stdout


def test_floats_are_compared_too(place: Path) -> None:
    write(place / "a.png", 0)
    np.save(place / "p.npy", write(place / "b.png", 1).astype(np.float32))
    assert "inf dB" in run("compare", "p.npy", "b.png").stdout


def test_alpha_is_compared_unless_all_is_opaque(place: Path) -> None:
    colours = write(place / "a.png", 0)
    for name, alpha in (("opaque.png", 255), ("half.png", 128)):
        levels = np.dstack([np.asarray(Image.open(place / "a.png")), np.full(colours.shape[:2], alpha, np.uint8)])
        Image.fromarray(levels).save(place / name)
    assert "inf dB" in run("compare", "a.png", "opaque.png").stdout
    assert "inf dB" in run("compare", "half.png", "half.png").stdout
    assert "largest     0.498 of the range" in run("compare", "opaque.png", "half.png").stdout


@pytest.mark.parametrize("quality", [[], ["--quality", "tiles", "--tile", "8", "--overlap", "2", "--moments", "tile"]])
def test_a_decode_is_compared_with_the_full_one(place: Path, quality: list[str]) -> None:
    told = run("compare", "a.npy", "--reference", "full", "--dtype", "float32", *quality).stdout
    psnr = float(told.split()[1])
    assert (psnr > 100) is (not quality)
    assert "the full decode has" in told


def test_a_full_decode_is_that_of_the_plain_model_by_the_kernels_of_a_decode(place: Path) -> None:
    vae, latents = VAE.load(place / "vae", "float32"), np.load(place / "a.npy")
    whole = full_plan(vae.plan(12, 20, f"{1 << 62}B"))
    assert (whole.extra_flops, whole.spilled) == (0, 0)
    assert {sweep.rows for sweep in whole.sweeps} == {6, 12}, "each map at once"
    decoded = vae.decode(latents, "np", plan=whole)
    plain = np.asarray(full_decode(vae, read_latents(latents, vae.config)))
    assert np.abs(decoded - plain).max() < 1e-5


def test_what_a_full_decode_costs_is_said_first_and_what_does_not_fit_is_not_tried(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("compare", "a.npy", "--reference", "full")
    (said,) = run(*words).stderr.splitlines()
    assert re.fullmatch(r"the decode takes .+ s and .+ MB; the full decode .+ s and .+ MB, if idle", said)
    assert run(*words, "-q").stderr == ""
    monkeypatch.setattr(here, "available", lambda _: Available(10**6))
    monkeypatch.setattr(VAE, "decode", lambda *_, **__: pytest.fail("it was decoded first"))
    said = run(*words, "--budget", "1GB", code=4).stderr
    assert "the full decode takes" not in said
    assert "the full decode needs at least" in said
    assert "1 MB available" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["a.png"], 2, "Give two pictures, or one file of latents"),
        (["a.png", "a.png", "--reference", "full"], 2, "Give two pictures, or one file of latents"),
        (["a.png", "c.png"], 3, "must have one shape"),
        (["a.png", "vae/config.json"], 3, "cannot be read as a picture"),
        (["a.png", "a.npy"], 3, "This looks like latents. Decode them first: zvae decode -o picture.png a.npy"),
        (["a.png", "p.safetensors"], 3, "A picture is read from a .png, .jpg, .webp, .tif or .npy only."),
        (["a.png", "none.png"], 3, "none.png"),
        (["a.png", "-"], 2, "Only zvae decode and zvae video take -"),
        (["a.png", "a.png", "--heat-map", "none/heat.png"], 5, "none/heat.png"),
        (["a.npy", "--reference", "full", "--budget", "1kB"], 4, "zvae compare a.npy --reference full --budget"),
    ],
)
def test_what_cannot_be_compared_is_refused(place: Path, words: list[str], code: int, said: str) -> None:
    write(place / "a.png", 0)
    write(place / "c.png", 0, height=10)
    (place / "p.safetensors").write_bytes(b"as zvae decode -o p.safetensors writes it")
    assert said in run("compare", *words, code=code).stderr


@pytest.mark.parametrize(
    "idle",
    [["--vae", "nonsense"], ["--quality", "tiles"], ["--budget", "1B"], ["--dtype", "bfloat16"], ["--width", "8"]],
)
def test_options_that_would_change_nothing_are_refused(place: Path, idle: list[str]) -> None:
    write(place / "a.png", 0)
    assert f"{idle[0]} only changes how latents are decoded" in run("compare", "a.png", "a.png", *idle, code=2).stderr


@pytest.mark.parametrize(
    ("drawn", "code", "said"),
    [
        ("h.bmp", 5, "not as '.bmp'"),
        ("none/h.png", 5, "does not exist"),
        ("a.npy", 2, "a.npy is an input"),
        ("h.webp", 5, "at most 8 pixels a side"),
    ],
)
def test_a_heat_map_that_cannot_be_drawn_is_refused_before_the_decode(
    place: Path, monkeypatch: pytest.MonkeyPatch, drawn: str, code: int, said: str
) -> None:
    monkeypatch.setattr(VAE, "decode", lambda *_, **__: pytest.fail("it was decoded first"))
    monkeypatch.setattr(WebP, "side", 8)
    assert said in run("compare", "a.npy", "--reference", "full", "--heat-map", drawn, code=code).stderr


def test_a_heat_map_that_its_format_does_not_hold_is_refused_before_pictures_are_compared(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place / "a.png", 0)
    monkeypatch.setattr(metrics, "psnr", lambda *_: pytest.fail("they were compared first"))
    monkeypatch.setattr(WebP, "side", 8)
    told = run("compare", "a.png", "a.png", "--heat-map", "h.webp", code=5).stderr
    assert "at most 8 pixels a side" in told


def test_a_share_of_the_disk_is_one_of_the_spill_folder_s(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(*_: object, disk_limit: str, **__: object) -> None:
        raise InputError(disk_limit)

    (place / "maps").mkdir()
    monkeypatch.setattr(VAE, "plan", plan)
    monkeypatch.setattr(storage, "free_space", lambda folder: 1000 if folder == place / "maps" else 0)
    words = ("compare", "a.npy", "--reference", "full", "--disk-limit", "50%", "--spill-folder", "maps")
    assert "500B" in run(*words, code=3).stderr


def test_a_batch_of_one_is_a_picture(place: Path) -> None:
    save_latents(place / "c.npy", batch=2)
    assert "PSNR" in run("compare", "c.npy", "--reference", "full").stdout
