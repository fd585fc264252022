"""`zvae` in a container with little memory: a decode without a budget is never killed, and messages name the limit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.groups import real_group, run_in
from tests.support.running import environment, process, save_latents, save_vae
from zvae_tiled import plan
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig

LIMIT = 200 * 10**6

WITHOUT_ATTENTION = AutoencoderKLConfig(
    latent_channels=4, block_out_channels=(4, 4, 4), norm_num_groups=2, mid_block_add_attention=False
)
"""Its pictures are four times as high as the latents, so that the widest map is large beside the latents."""

SIDE = 900
"""Latents a side: in ample memory, a decode of these takes more than the limit."""

MOST_FLOPS = 4e10
"""Few enough for a machine that computes with MLX's own kernels, beside other work."""


def zvae(group: Path, *words: str | Path) -> tuple[int, str, str]:
    child = run_in(group, "-m", "zvae_tiled.cli", *words, environment=environment())
    return child.returncode, child.stdout, child.stderr


@pytest.mark.slow
def test_a_decode_without_a_budget_survives(tmp_path: Path) -> None:
    vae, latents = save_vae(tmp_path / "vae", WITHOUT_ATTENTION), save_latents(tmp_path / "a.npy", SIDE, SIDE)
    decode: list[str | Path] = ["decode", latents, "--vae", vae, "--dtype", "float32", "--layout", "NCHW"]
    with real_group("memory", memory_limit_in_bytes=LIMIT) as group:
        code, _, told = zvae(group, *decode, "-o", tmp_path / "a.png", "--save-plan", tmp_path / "plan.json")
    assert code == 0, told
    budget = json.loads((tmp_path / "plan.json").read_text())["budget"]
    assert budget < LIMIT
    ample, tight = (
        plan(WITHOUT_ATTENTION, 4 * SIDE, 4 * SIDE, size, dtype="float32", task="stream")
        for size in ("4GB", f"{budget}B")
    )
    assert ample.predicted_peak > LIMIT, "in ample memory the decode must take more than the limit"
    assert tight.spilled > LIMIT, "the cached pages of its files must take more than the limit, too"
    assert tight.predicted_flops < MOST_FLOPS
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (4 * SIDE, 4 * SIDE)
        assert np.asarray(picture).std() > 10


@pytest.mark.slow
def test_the_refusal_names_the_limit() -> None:
    with real_group("memory", memory_limit_in_bytes=LIMIT) as group:
        code, _, told = zvae(group, "plan", "2048", "--budget", "1%")
    assert code == 4, told
    assert "MB available (memory limit of this container))" in told
    outside = process(["plan", "2048", "--budget", "0.001%"])
    assert outside.returncode == 4
    assert b"available)" in outside.stderr


def test_the_doctor_names_the_limit() -> None:
    with real_group("memory", memory_limit_in_bytes=LIMIT) as group:
        code, told, errors = zvae(group, "doctor")
    assert code == 0, errors
    lines = {line[:12].strip(): line[13:] for line in told.splitlines()}
    for name in ("memory", "budget"):
        assert "MB available (memory limit of this container)" in lines[name]
        assert int(lines[name].partition(" MB")[0].split()[-1]) < LIMIT / 1e6
