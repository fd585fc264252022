"""`zvae decode`: the files it writes are what `VAE.decode` gives; what cannot be is refused before any work."""

from __future__ import annotations

import io
import json
import shlex
import signal
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.running import CONFIG, run, save_latents
from zvae_tiled import VAE, Tiles, read_plan
from zvae_tiled.cli import inputs


def levels(path: Path, source: Path, dtype: str = "bfloat16") -> bool:
    """Whether a PNG holds what the library decodes."""
    (want,) = VAE.load(path.parent / "vae", dtype).decode(np.load(source), output_type="pil")
    with Image.open(path) as image:
        return np.array_equal(np.asarray(image), np.asarray(want))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


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


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["x-0.npy", "-o", "x.npy"], 2, "x-0.npy is an input, and would be replaced"),
        (["x.npy", "x-0.npy", "-o", "out/"], 2, "Several files would be written to out/x-0.png"),
        (["x.npy", "-o", "-"], 2, "A batch of 2 does not fit on standard output"),
        (["b.npy", "a.npy", "-o", "{stem}.png", "--no-overwrite"], 5, "a.png: there is a file of that name"),
    ],
)
def test_all_files_of_all_pictures_are_checked_before_the_first(
    place: Path, words: list[str], code: int, said: str
) -> None:
    save_latents(place / "x.npy", batch=2)
    save_latents(place / "x-0.npy", batch=1 if words[0] == "x.npy" else 2)
    (place / "a.png").write_text("old")
    before = {path.name: path.read_bytes() for path in place.glob("*.*")}
    assert said in run("decode", *words, code=code).stderr
    assert {path.name: path.read_bytes() for path in place.glob("*.*")} == before
    assert not list(place.glob("out/*"))


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


def test_standard_input_to_standard_output(place: Path) -> None:
    told = run("decode", "-", "-o", "-", "--budget", "13MB", stdin=(place / "a.npy").read_bytes())
    before = files(place)
    run("decode", "a.npy", "-o", "a.png", "--budget", "13MB", "-q")
    assert told.stdout_bytes == (place / "a.png").read_bytes()
    assert "written    standard output" in told.stderr
    assert before == {"a.npy", "b.npy", "vae"}


def test_a_plan_is_kept_and_replayed(place: Path) -> None:
    run("decode", "a.npy", "-o", "a.png", "--save-plan", "plan.json", "--budget", "13MB", "-q")
    plan = read_plan((place / "plan.json").read_text())
    assert plan.budget == 13_000_000
    told = run("decode", "a.npy", "-o", "b.png", "--plan", "plan.json")
    assert f"plan       {plan.digest}" in told.stderr
    assert (
        "the plan was made for height 6" in run("decode", "b.npy", "-o", "c.png", "--plan", "plan.json", code=3).stderr
    )


@pytest.mark.parametrize(
    ("kept", "code", "said"),
    [
        ("none/plan.json", 5, "none/plan.json is a folder, or its folder does not exist"),
        ("a.npy", 2, "a.npy is an input"),
        ("a.png", 2, "would be written to a.png"),
    ],
)
def test_a_plan_that_cannot_be_kept_is_refused_before_the_decode(place: Path, kept: str, code: int, said: str) -> None:
    before = files(place)
    assert said in run("decode", "a.npy", "-o", "a.png", "--save-plan", kept, code=code).stderr
    assert files(place) == before


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


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["a.npy"], 2, "--output"),
        (["-o", "a.png"], 2, "LATENTS"),
        (["a.npy", "b.npy", "-o", "a.png"], 2, "2 inputs need a folder or a pattern"),
        (["a.npy", "b.npy", "-o", "-"], 2, "2 pictures do not fit on standard output"),
        (["a.npy", "vae/../a.npy", "-o", "out/"], 2, "Several files would be written to out/a.png"),
        (["a.npy", "-o", "a.npy"], 2, "a.npy is an input, and would be replaced"),
        (["a.npy", "b.npy", "-o", "out/", "--save-plan", "p.json"], 2, "--save-plan keeps one plan"),
        (["-", "-", "-o", "out/"], 2, "can be read once"),
        (["a.npy", "-o", "a.png", "--tile", "many"], 2, "is no size"),
        (["none.npy", "-o", "a.png"], 3, "none.npy"),
        (["a.npy", "-o", "a.png", "--height", "12"], 3, "Set both. Leave both out"),
        (["*.none", "-o", "a.png"], 3, "no file matches"),
        (["vae/config.json", "-o", "a.png"], 3, "vae/config.json"),
        (["a.npy", "-o", "a.png", "--tile", "64"], 2, "--tile: only --quality tiles has tiles"),
        (["a.npy", "-o", "a.png", "--budget", "lots"], 3, "must be an amount of memory"),
        (["a.npy", "-o", "a.png", "--vae", "nowhere"], 3, "nowhere"),
        (["a.npy", "-o", "a.png", "--vae", "sdxl"], 3, "Hugging Face cache"),
        (["a.npy", "-o", "a.png", "--plan", "a.npy"], 3, "a.npy"),
        (["a.npy", "-o", "a.png", "--budget", "1kB"], 4, "needs at least"),
        (["a.npy", "-o", "none/a.png"], 5, "none/a.png"),
        (["a.npy", "-o", "a.gif"], 5, ".gif"),
        (["a.npy", "-o", "none/none/"], 5, "none/none/ cannot be made"),
    ],
)
def test_what_cannot_be_is_refused_with_its_code(place: Path, words: list[str], code: int, said: str) -> None:
    before = files(place)
    assert said in run("decode", *words, code=code, stdin=b"").stderr
    assert files(place) - before <= {"out"}, "nothing is left but a folder that was asked for"


def test_the_next_command_works(place: Path) -> None:
    said = run("decode", "a.npy", "-o", "a picture.png", "--budget", "1kB", code=4).stderr
    (line,) = [line.strip() for line in said.splitlines() if line.strip().startswith("zvae decode")]
    assert "'a picture.png'" in line
    run(*shlex.split(line)[1:])
    assert (place / "a picture.png").is_file()


def test_of_several_files_those_that_work_are_decoded(place: Path) -> None:
    large = save_latents(place / "large.npy", 200, 400)
    told = run("plan", "20x12", "--vae", "vae", "--json")
    budget = json.loads(told.stdout)["predicted"]["peak"]
    said = run("decode", "a.npy", large, "b.npy", "-o", "out/", "--budget", f"{budget}B", code=4).stderr
    assert files(place / "out") == {"a.png", "b.png"}
    (line,) = [line.strip() for line in said.splitlines() if line.strip().startswith("zvae decode")]
    assert line.startswith(f"zvae decode {large} --output out/")


def test_an_error_nobody_expected_ends_its_own_picture_only(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = VAE.decode_to_file

    def failing(vae: VAE, latents: Any, path: str, *args: Any, **options: Any) -> Any:
        if Path(path).stem == "a":
            raise RuntimeError("[malloc] Unable to allocate 99 bytes")
        return decode(vae, latents, path, *args, **options)

    monkeypatch.setattr(VAE, "decode_to_file", failing)
    said = run("decode", "a.npy", "b.npy", "-o", "out/", "-q", code=6).stderr
    assert files(place / "out") == {"b.png"}
    assert "a.npy: RuntimeError: [malloc] Unable" in said
    assert "zvae decode a.npy --output out/ --budget 25%" in said


def test_latents_from_standard_input_are_kept_when_the_decode_fails(place: Path) -> None:
    sent = (place / "a.npy").read_bytes()
    said = run("decode", "-", "-o", "a.png", "--budget", "1kB", code=4, stdin=sent).stderr
    assert (place / "zvae-latents-1.npy").read_bytes() == sent
    (line,) = [line.strip() for line in said.splitlines() if line.strip().startswith("zvae decode")]
    run(*shlex.split(line)[1:])
    assert levels(place / "a.png", place / "a.npy")
    run("decode", "-", "-o", "a.png", "--budget", "1kB", code=4, stdin=sent)
    assert (place / "zvae-latents-2.npy").is_file()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_latents_from_standard_input_are_kept_when_the_decode_is_interrupted(
    place: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    monkeypatch.setattr(VAE, "decode_to_file", lambda *_, **__: signal.raise_signal(number))
    sent = (place / "a.npy").read_bytes()
    assert "are in zvae-latents-1.npy" in run("decode", "-", "-o", "a.png", code=code, stdin=sent).stderr
    assert (place / "zvae-latents-1.npy").read_bytes() == sent


def test_latents_from_standard_input_are_kept_elsewhere_when_the_folder_cannot_be_written(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "tmp"):
        (place / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(place / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(place / "tmp"))
    monkeypatch.chdir(place / "gone")
    (place / "gone").rmdir()
    sent = (place / "a.npy").read_bytes()
    said = run("decode", "-", "-o", place / "a.png", "--budget", "1kB", code=4, stdin=sent).stderr
    kept = place / "tmp" / "zvae-latents-1.npy"
    assert kept.read_bytes() == sent
    assert f"zvae decode {kept} --output" in said


def test_latents_from_standard_input_are_not_kept_over_a_file_that_appears(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "taken.npy").write_text("somebody else's")
    monkeypatch.setattr(inputs, "_free_name", lambda folder, suffix: place / "taken.npy")
    said = run("decode", "-", "-o", "a.png", "--budget", "1kB", code=4, stdin=(place / "a.npy").read_bytes()).stderr
    assert "cannot be kept in" in said
    assert (place / "taken.npy").read_text() == "somebody else's"


def test_only_what_failed_is_tried_again_when_standard_input_failed(place: Path) -> None:
    np.save(place / "large.npy", np.zeros((1, 4, 200, 400), np.float32))
    budget = json.loads(run("plan", "20x12", "--vae", "vae", "--json").stdout)["predicted"]["peak"]
    words = ("decode", "a.npy", "-", "-o", "out/", "--budget", f"{budget}B")
    said = run(*words, code=4, stdin=(place / "large.npy").read_bytes()).stderr
    assert "zvae decode zvae-latents-1.npy --output out/" in said
    said = run("decode", "large.npy", *words[2:], code=4, stdin=(place / "a.npy").read_bytes()).stderr
    assert "zvae decode large.npy --output out/" in said
    assert not (place / "zvae-latents-2.npy").exists(), "its picture is written"


def test_a_preset_means_a_model_in_the_cache(place: Path) -> None:
    folder = place / "hub" / "models--stabilityai--stable-diffusion-xl-base-1.0" / "snapshots" / "a1"
    folder.mkdir(parents=True)
    (place / "vae").rename(folder / "vae")
    run("decode", "a.npy", "-o", "a.png", "--vae", "sdxl", "-q")
    assert (place / "a.png").is_file()
    assert "sd1" in run("decode", "a.npy", "-o", "a.png", "--vae", "sd1", code=3).stderr


def test_the_config_is_that_of_the_tests() -> None:
    assert CONFIG.scale == 2


def test_a_png_is_read_by_others(place: Path) -> None:
    told = run("decode", "a.npy", "-o", "-", "-q")
    with Image.open(io.BytesIO(told.stdout_bytes)) as image:
        assert (image.format, image.size) == ("PNG", (20, 12))
