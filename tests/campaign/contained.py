"""Decodes without a budget in control groups with less memory than the machine: none is killed."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest

from tests.campaign.part import Case
from tests.support.groups import real_group, run_in
from tests.support.running import CONFIG, environment, process, save_latents, save_vae

SIDES = (64, 200, 350, 500)
"""Latents a side, of a VAE without attention. The longest would take more than the limit in ample memory."""


@cache
def _want(side: int) -> bytes:
    """Return the digest of the picture as it is decoded in ample memory."""
    folder = Path(_folder())
    done = process([*_words(folder, side), "-o", folder / f"{side}.png", "--budget", "4GB"])
    assert done.returncode == 0, done.stderr
    return sha256((folder / f"{side}.png").read_bytes()).digest()


@cache
def _folder() -> str:
    folder = Path(tempfile.mkdtemp(prefix="contained-"))
    save_vae(folder / "vae", replace(CONFIG, mid_block_add_attention=False))
    for side in SIDES:
        save_latents(folder / f"{side}.npy", side, side)
    return str(folder)


def _words(folder: Path, side: int) -> list[str | Path]:
    return ["decode", folder / f"{side}.npy", "--vae", folder / "vae", "--dtype", "float32", "--layout", "NCHW"]


@cache
def may_contain() -> bool:
    """Return whether this process may make a control group with a limit."""
    with suppress(pytest.skip.Exception, OSError), real_group("memory", memory_limit_in_bytes=1 << 30):
        return True
    return False


def attempt(case: Case) -> None:
    """Decode in a group with a random limit: to the bytes of ample memory, or refused as too large."""
    side, limit = case.rng.choice(SIDES), case.rng.randint(160, 260) * 10**6
    picture, saved = case.folder / "a.png", case.folder / "plan.json"
    words = [*_words(Path(_folder()), side), "-o", picture, "--save-plan", saved]
    with real_group("memory", memory_limit_in_bytes=limit) as group:
        done = run_in(group, "-m", "zvae_tiled.cli", *words, environment=environment())
    told = f"{side} latents a side in {limit:,} bytes: exit code {done.returncode}\n{done.stderr}"
    assert done.returncode in (0, 4), told
    if done.returncode == 4:
        assert not picture.exists(), told
        return
    assert json.loads(saved.read_text())["budget"] < limit, told
    assert sha256(picture.read_bytes()).digest() == _want(side), f"wrong bytes: {told}"
