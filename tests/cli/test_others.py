"""`zvae compare`, `inspect`, `encode`, `calibrate` and `doctor`."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tests.support.running import run, save_latents
from tests.support.speeds import speeds
from zvae_tiled import VAE, demo, read_latent_file
from zvae_tiled.cli.full import full_decode
from zvae_tiled.cli.sources import order_vae, vae_sources
from zvae_tiled.devices import blas, here
from zvae_tiled.devices import calibrate as calibrating
from zvae_tiled.devices.blas import BlasStatus
from zvae_tiled.devices.native_cpu import choice, race
from zvae_tiled.devices.native_cpu.choice import NativeStatus
from zvae_tiled.errors import ImageError
from zvae_tiled.inputs.latents import read_latents
from zvae_tiled.jobs import limits
from zvae_tiled.order import Order
from zvae_tiled.order import run as carry_out
from zvae_tiled.planner import calibration
from zvae_tiled.planner.budget import Available
from zvae_tiled.planner.full import full_plan
from zvae_tiled.planner.proposal import Proposal
from zvae_tiled.report import metrics


def write(path: Path, seed: int, height: int = 12, width: int = 20) -> np.ndarray:
    """Write a picture, and return what is in the file."""
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(levels).save(path)
    return levels / np.float64(255)


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
        (["a.png", "a.npy"], 3, "This looks like latents. Decode them first: zvae decode a.npy -o picture.png"),
        (["a.png", "none.png"], 3, "none.png"),
        (["a.png", "a.png", "--heat-map", "none/heat.png"], 5, "none/heat.png"),
        (["a.npy", "--reference", "full", "--budget", "1kB"], 4, "zvae compare a.npy --reference full --budget"),
    ],
)
def test_what_cannot_be_compared_is_refused(place: Path, words: list[str], code: int, said: str) -> None:
    write(place / "a.png", 0)
    write(place / "c.png", 0, height=10)
    assert said in run("compare", *words, code=code).stderr


@pytest.mark.parametrize(
    "idle",
    [["--vae", "nonsense"], ["--quality", "tiles"], ["--budget", "1B"], ["--dtype", "bfloat16"], ["--width", "8"]],
)
def test_options_that_would_change_nothing_are_refused(place: Path, idle: list[str]) -> None:
    write(place / "a.png", 0)
    assert f"{idle[0]} only changes how latents are decoded" in run("compare", "a.png", "a.png", *idle, code=2).stderr


def test_a_picture_is_encoded_and_comes_back(place: Path) -> None:
    picture = write(place / "a.png", 0)
    want = VAE.load(place / "vae", decoder_only=False).encode(picture)
    run("encode", "a.png", "-o", "e.safetensors", "--budget", "50MB")
    file = read_latent_file(place / "e.safetensors")
    assert file.layout == "NCHW"
    assert mx.array_equal(file.array, want.mean)
    assert "zvae decode e.safetensors -o" in run("encode", "e.safetensors", "-o", "f.npy", code=3).stderr
    assert (
        "e.safetensors: there is a file"
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
        ("-", 5, "this name has no ending"),
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
    ("drawn", "code", "said"),
    [("h.bmp", 5, "not as '.bmp'"), ("none/h.png", 5, "does not exist"), ("a.npy", 2, "a.npy is an input")],
)
def test_a_heat_map_that_cannot_be_drawn_is_refused_before_the_decode(
    place: Path, monkeypatch: pytest.MonkeyPatch, drawn: str, code: int, said: str
) -> None:
    monkeypatch.setattr(VAE, "decode", lambda *_, **__: pytest.fail("it was decoded first"))
    assert said in run("compare", "a.npy", "--reference", "full", "--heat-map", drawn, code=code).stderr


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


def test_a_vae_is_inspected(place: Path) -> None:
    told = run("inspect", "vae").stdout
    for line in ("latents    4 channels, one for 2x2 pixels", "widths     8, 8", "like       no preset", "F32"):
        assert line in told
    assert run("inspect", "vae/diffusion_pytorch_model.safetensors").stdout == told
    (place / "vae" / "config.json").rename(place / "away.json")
    told = run("inspect", "vae").stdout
    weights = "vae/diffusion_pytorch_model.safetensors"
    assert f"there is no config.json beside {weights}, and no preset has their names and shapes" in told
    assert "nowhere" in run("inspect", "nowhere", code=3).stderr


def test_a_preset_and_a_config_are_inspected_without_weights(place: Path) -> None:
    told = run("inspect", "z-image").stdout
    for line in (
        "latents    16 channels",
        "widths     128, 256, 512, 512",
        "Tongyi-MAI/Z-Image-Turbo",
        "like       z-image",
    ):
        assert line in told
    assert f"files      none: the Hugging Face cache ({place / 'hub'}) has none" in told
    assert "models" not in run("inspect", "pixel-space").stdout
    assert "latents    4 channels, one for 2x2 pixels" in run("inspect", "vae/config.json").stdout
    for model, name in (("Tongyi-MAI/Z-Image-Turbo", "z-image"), ("a/b", "a/b")):
        folder = place / "hub" / f"models--{model.replace('/', '--')}" / "snapshots" / "a1"
        folder.mkdir(parents=True)
        (folder / "vae").symlink_to(place / "vae")
        assert run("inspect", name).stdout == run("inspect", folder / "vae").stdout


def test_latents_are_inspected(place: Path) -> None:
    told = run("inspect", "a.npy").stdout
    values = np.load(place / "a.npy")
    assert "shape      1 x 4 x 6 x 10, float32" in told
    assert f"mean {values.mean():.3g}, spread {values.std():.3g}, least {values.min():.3g}" in told
    assert "scaled, as from a pipeline" in told
    values[0, 0, 0, :3] = np.nan
    np.save(place / "bad.npy", values)
    assert "3 of 240 are NaN or infinite: cannot be decoded" in run("inspect", "bad.npy").stdout


@pytest.mark.parametrize(
    ("shape", "said", "read_as"),
    [
        ((1, 4, 2, 3), {}, "NCHW,"),
        ((1, 2, 3, 4), {"layout": "NHWC"}, "NHWC,"),
        ((4, 2, 3), {}, "NCHW; packed tokens with --height and --width,"),
        ((1, 6, 16), {"height": "4", "width": "6"}, "packed tokens,"),
        ((6, 16), {}, "packed tokens,"),
        ((1, 4, 2, 3), {"height": "4", "width": "6", "packed": "false"}, "NCHW,"),
    ],
)
def test_inspect_says_how_latents_would_be_read(
    place: Path, shape: tuple[int, ...], said: dict[str, str], read_as: str
) -> None:
    save_file({"latents": np.ones(shape, np.float32)}, place / "c.safetensors", said)
    assert f"read as    {read_as}" in run("inspect", "c.safetensors").stdout


def test_the_doctor_looks_at_everything_and_says_what_to_do(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run("doctor").stdout
    for name in (
        "device",
        "MLX",
        "BLAS",
        "kernels",
        "speed",
        "calibration",
        "memory",
        "budget",
        "spill folder",
        "Pillow",
    ):
        assert f"\n{name:<12} " in told
    assert f"{'VAE':<12} {place / 'vae'}" in told
    assert "calibration: zvae calibrate" in told
    native, slow = (
        NativeStatus("avx2", "the fastest this CPU has", ("avx2",), 2),
        BlasStatus("builtin", None, False, "is slow"),
    )
    monkeypatch.setattr(blas, "preload", lambda: slow)
    with monkeypatch.context() as here:
        here.setattr(choice, "native_status", lambda: native)
        here.setattr("zvae_tiled.devices.here.device_kind", lambda: "cpu")
        told = run("doctor").stdout
        assert f"\n{'BLAS':<12} builtin: not needed, for the avx2 kernels compute\n" in told
        assert "  BLAS: " not in told
    monkeypatch.setenv("ZVAE_KERNELS", "mlx")
    told = run("doctor").stdout
    assert f"\n{'kernels':<12} mlx: ZVAE_KERNELS is mlx" in told
    assert f"\n{'BLAS':<12} builtin: is slow\n" in told
    assert "  BLAS: pip install" in told
    monkeypatch.delenv("ZVAE_VAE")
    assert "  VAE: export ZVAE_VAE=FOLDER" in run("doctor").stdout


@pytest.mark.parametrize("place_of_vae", ["nowhere", "empty"])
def test_the_doctor_says_that_the_vae_cannot_be_used(
    place: Path, monkeypatch: pytest.MonkeyPatch, place_of_vae: str
) -> None:
    (place / "empty").mkdir()
    monkeypatch.setenv("ZVAE_VAE", str(place / place_of_vae))
    told = run("doctor").stdout
    assert f"{place / place_of_vae}, which cannot be used" in told
    advice = told.partition("To improve:")[2]
    assert "  VAE: " in advice
    assert place_of_vae in advice
    assert "export ZVAE_VAE=FOLDER" in advice


def test_the_variable_may_name_the_demo_or_a_preset(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZVAE_VAE", "demo")
    assert order_vae(None) == str(demo.FOLDER), "so that workers find it"
    assert {source.path for source in vae_sources(None, None)} == {source.path for source in vae_sources("demo", None)}
    told = run("doctor").stdout
    assert f"{'VAE':<12} {demo.FOLDER}\n" in told
    assert "  VAE: " not in told
    monkeypatch.setenv("ZVAE_VAE", "sdxl")
    told = run("doctor").stdout
    assert f"{'VAE':<12} sdxl, which cannot be used" in told
    assert "sdxl needs a model with that VAE" in told


def test_calibrating_is_what_the_library_does(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(calibration.CACHE_VARIABLE, str(place / "cache"))
    monkeypatch.setattr(calibrating, "distinct_steps", lambda chain: [chain.steps[-1]])
    monkeypatch.setitem(calibrating.SIZES, "cpu", ((1, 8),))
    monkeypatch.setattr(calibrating, "DISK_BYTES", 1 << 20)
    monkeypatch.setattr(race, "proposals", lambda: (Proposal("bfloat16", "avx512bf16", "avx512", 1.32),))
    told = run("calibrate")
    assert "GFLOP/s in convolutions" in told.stdout
    assert "the disk" in told.stderr
    assert len(list((place / "cache").iterdir())) == 1
    healthy = run("doctor").stdout
    assert "calibration: zvae calibrate" not in healthy
    faster = "path avx512 was 1.3 times as fast as avx512bf16 here: ZVAE_KERNELS=avx512 takes it (other bits)"
    assert f"\nbfloat16: {faster}" in told.stdout
    assert f"  kernels: bfloat16: {faster}" in healthy.partition("To improve:")[2]
    assert re.search(r"^calibrated   [\d.]+ s ago$", healthy, re.M)
    (file,) = (place / "cache").iterdir()
    os.utime(file, (time.time() - 4e5,) * 2)
    assert "\ncalibrated   4.6 days ago\n" in run("doctor").stdout


def test_a_higher_speed_is_replaced_only_if_one_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[bool] = []

    def calibrated(_: object, replace: bool) -> calibration.Calibration:
        said.append(replace)
        return stored

    stored = calibration.Calibration("cpu", "A chip", "0", 1.0, speeds(), speeds(), 1e9)
    monkeypatch.setattr(limits, "calibrate", calibrated)
    run("calibrate")
    assert "bfloat16: 100 GFLOP/s in convolutions, " in run("calibrate", "--replace").stdout
    assert said == [False, True]


def test_a_batch_of_one_is_a_picture(place: Path) -> None:
    save_latents(place / "c.npy", batch=2)
    assert "PSNR" in run("compare", "c.npy", "--reference", "full").stdout
