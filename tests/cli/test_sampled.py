"""`--quality sampled`: keys, tolerance, what is said of the error, and the command to try after one beyond it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.support.running import run, save_latents
from zvae_tiled import VAE, Sampled
from zvae_tiled.engine.sample_error import SampleError

SAMPLED = ("--quality", "sampled", "--keys", "64", "--dtype", "float32")


@pytest.fixture
def wide(place: Path) -> str:
    save_latents(place / "wide.npy", 14, 20)
    return "wide.npy"


def test_the_options_reach_the_decode_and_the_report_says_the_error(place: Path, wide: str) -> None:
    told = run("decode", wide, "-o", "a.npy.npy", *SAMPLED, "--tolerance", "0.9", "--save-plan", "p.json").stderr
    assert "quality    sampled, not exact: the whole picture; at most 64 of 280 keys" in told
    assert re.search(r"sampled    \d+ of 280 keys; error of the map: RMS [\d.e-]+ %, 99 % below", told)
    want = VAE.load(place / "vae", "float32").decode(np.load(place / wide), quality=Sampled(64))
    assert np.array_equal(np.load(place / "a.npy.npy"), want[0])
    run("decode", wide, "-o", "b.npy.npy", "--plan", "p.json", "--dtype", "float32", "-q")
    assert (place / "b.npy.npy").read_bytes() == (place / "a.npy.npy").read_bytes()


def test_beyond_the_tolerance_nothing_is_written_and_more_keys_are_named(place: Path, wide: str) -> None:
    told = run("decode", wide, "-o", "a.png", *SAMPLED, "--tolerance", "1e-6", code=6).stderr
    assert "[quality] wide.npy: the attention to " in told
    assert "Take --quality exact" in told
    tried = told.partition("Try this next:")[2]
    assert "--quality exact" in tried
    assert "--keys" not in tried, "all keys are no sample"
    assert "--tolerance" not in tried
    assert not (place / "a.png").exists()
    first = float(re.findall(r"RMS ([\d.e-]+) %", run("decode", wide, "-o", "a.png", *SAMPLED).stderr)[0]) / 100
    told = run("decode", wide, "-o", "b.png", *SAMPLED, "--tolerance", str(0.8 * first), code=6).stderr
    assert "Use --keys 128." in told
    assert f"--quality sampled --keys 128 --tolerance {0.8 * first}" in told


@pytest.mark.parametrize(
    ("tolerance", "chosen"),
    [(1e-6, "--quality exact"), (1e-3, "--quality sampled --keys 256 --tolerance 0.001")],
)
def test_beyond_the_tolerance_of_a_plan_the_command_to_try_has_no_plan(
    place: Path, wide: str, tolerance: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SampleError, "_needed", lambda *_: 256 if tolerance > 1e-4 else 1 << 20)
    run("decode", wide, "-o", "a.png", *SAMPLED, "--tolerance", "0.9", "--save-plan", "p.json")
    saved = (place / "p.json").read_text().replace('"tolerance": 0.9', f'"tolerance": {tolerance}')
    (place / "p.json").write_text(saved)
    told = run("decode", wide, "-o", "b.png", "--plan", "p.json", "--dtype", "float32", code=6).stderr
    tried = told.partition("Try this next:")[2]
    assert chosen in tried
    assert "--plan" not in tried


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--keys", "100"], 2, "--keys: only --quality sampled samples keys"),
        (["--quality", "sampled", "--keys", "1"], 2, "keys must be 64 to"),
        (["--quality", "sampled", "--tolerance", "nan"], 2, "tolerance must be a number above 0"),
    ],
)
def test_what_cannot_be_is_refused(place: Path, words: list[str], code: int, said: str) -> None:
    assert said in run("decode", "a.npy", "-o", "a.png", *words, code=code).stderr


def test_a_plan_names_the_choice_with_both_times() -> None:
    large = run("plan", "8192", "--vae", "z-image", "--budget", "100GB", "--device", "cpu/mlx").stdout
    (sampled, exact) = re.findall(r"attention  quality sampled, keys 131072: (.+) in place of (.+)", large)[0]
    assert f"time       {exact} if idle: attention " in large
    chosen = run("plan", "8192", "--vae", "z-image", "--budget", "100GB", "--device", "cpu/mlx", "--quality", "sampled")
    assert f"time       {sampled} if idle" in chosen.stdout
    assert "at most 131,072 of 1,048,576 keys" in chosen.stdout
    assert "attention  " not in run("plan", "1024", "--vae", "z-image", "--budget", "100GB").stdout
