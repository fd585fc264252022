"""`zvae decode` writes the pictures that `VAE.decode` returns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.decoding import files, levels
from tests.support.running import run, save_latents
from zvae_tiled import VAE, Tiles, read_plan


def test_one_file(place: Path) -> None:
    told = run("decode", "a.npy", "-o", "a.png", "--budget", "13MB")
    assert levels(place / "a.png", place / "a.npy")
    assert told.stdout == ""
    for line in ("decoded    1 x 20x12, bfloat16 on cpu", "predicted", "measured", "written    a.png"):
        assert line in told.stderr


def test_quiet_says_nothing(place: Path) -> None:
    assert run("decode", "a.npy", "-o", "a.png", "--quiet").output == ""
    assert (place / "a.png").is_file()


@pytest.mark.parametrize("out", ["out/", "{stem}.png", "out"])
def test_several_files_and_patterns(place: Path, out: str) -> None:
    if out == "out":
        (place / "out").mkdir()
    run("decode", "[ab].npy", "-o", out, "-q")
    folder = place / "out" if out.startswith("out") else place
    assert {"a.png", "b.png"} <= files(folder)
    with Image.open(folder / "b.png") as image:
        assert image.size == (16, 10)


def test_a_batch_is_numbered(place: Path) -> None:
    save_latents(place / "c.npy", batch=2)
    run("decode", "c.npy", "-o", "c.png", "-q")
    assert {"c-0.png", "c-1.png"} <= files(place)


def test_options_reach_the_decode(place: Path) -> None:
    told = run(
        *("decode", "a.npy", "-o", "a.npz.npy", "--dtype", "float32", "--quality", "tiles", "--tile", "8x8"),
        *("--overlap", "4", "--ramp", "linear", "--moments", "tile", "--layout", "NCHW"),
    )
    assert "quality    tiles, not exact: moments and middle block of each tile by itself" in told.stderr
    assert "float32 on cpu" in told.stderr
    want = VAE.load(place / "vae", "float32").decode(np.load(place / "a.npy"), quality=Tiles(8, 4, "linear", "tile"))
    assert np.array_equal(np.load(place / "a.npz.npy"), want[0])


def test_the_layout_is_said_and_not_guessed(place: Path) -> None:
    nchw = np.load(place / "a.npy")
    np.save(place / "last.npy", nchw.transpose(0, 2, 3, 1))
    np.save(place / "frame.npy", nchw[:, :, None])
    for command in (["decode", "last.npy", "-o", "x.png"], ["compare", "last.npy", "--reference", "full"]):
        assert "--layout NHWC" in run(*command, code=3).stderr
    assert not (place / "x.png").exists()
    for source, said in (("a.npy", ()), ("frame.npy", ()), ("last.npy", ("--layout", "NHWC"))):
        run("decode", source, "-o", f"{source}.png", "-q", *said)
        assert levels(place / f"{source}.png", place / "a.npy")


def test_sixteen_bits(place: Path) -> None:
    run("decode", "a.npy", "-o", "a.png", "--bits", "16", "-q")
    assert (place / "a.png").read_bytes()[24] == 16


def test_a_plan_is_kept_and_replayed(place: Path) -> None:
    run("decode", "a.npy", "-o", "a.png", "--save-plan", "plan.json", "--budget", "13MB", "-q")
    plan = read_plan((place / "plan.json").read_text())
    assert plan.budget == 13_000_000
    told = run("decode", "a.npy", "-o", "b.png", "--plan", "plan.json")
    assert f"plan       {plan.digest}" in told.stderr
    assert (
        "the plan was made for a height in pixels of 12"
        in run("decode", "b.npy", "-o", "c.png", "--plan", "plan.json", code=3).stderr
    )


def test_a_plan_of_tiles_is_kept_and_replayed(place: Path) -> None:
    asked = ("--quality", "tiles", "--moments", "tile", "--tile", "8", "--overlap", "0")
    run("decode", "a.npy", "-o", "a.png", "--save-plan", "plan.json", *asked, "-q")
    told = run("decode", "a.npy", "-o", "b.png", "--plan", "plan.json")
    assert f"plan       {read_plan((place / 'plan.json').read_text()).digest}" in told.stderr
    assert "quality    tiles, not exact" in told.stderr
    assert (place / "a.png").read_bytes() == (place / "b.png").read_bytes()


def test_a_plan_made_beforehand_is_replayed(place: Path) -> None:
    told = run("plan", "20x12", "--vae", "vae", "--budget", "13MB", "--json")
    (place / "plan.json").write_text(told.stdout)
    run("decode", "a.npy", "-o", "a.png", "--plan", "plan.json", "-q")
    assert levels(place / "a.png", place / "a.npy")


def test_an_existing_file_is_replaced_unless_it_is_to_be_kept(place: Path) -> None:
    (place / "a.png").write_text("old")
    assert "a.png" in run("decode", "a.npy", "-o", "a.png", "--no-overwrite", code=5).stderr
    assert (place / "a.png").read_text() == "old"
    run("decode", "a.npy", "-o", "a.png", "-q")
    assert levels(place / "a.png", place / "a.npy")


def test_a_file_without_a_config_needs_one_named(place: Path) -> None:
    weights = place / "diffusion.safetensors"
    (place / "vae" / "diffusion_pytorch_model.safetensors").rename(weights)
    assert "config" in run("decode", "a.npy", "-o", "a.png", "--vae", weights, code=3).stderr
    run("decode", "a.npy", "-o", "a.png", "--vae", weights, "--config", "vae/config.json", "-q")


def test_a_preset_means_a_model_in_the_cache(place: Path) -> None:
    folder = place / "hub" / "models--stabilityai--stable-diffusion-xl-base-1.0" / "snapshots" / "a1"
    folder.mkdir(parents=True)
    (place / "vae").rename(folder / "vae")
    run("decode", "a.npy", "-o", "a.png", "--vae", "sdxl", "-q")
    assert (place / "a.png").is_file()
    assert "sd1" in run("decode", "a.npy", "-o", "a.png", "--vae", "sd1", code=3).stderr
