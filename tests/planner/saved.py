"""Plans of every quality, as objects and as saved JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.planner.tampering import changed
from zvae_tiled import Plan, plan
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.planner import layout
from zvae_tiled.planner.quality import Quality, Tiles

CONFIG = AutoencoderKLConfig(latent_channels=4, block_out_channels=(8, 8), norm_num_groups=4)
TILES = Tiles(20, 8, "cosine")
QUALITIES: list[str | Quality] = [
    "exact",
    "stream",
    "tiles",
    TILES,
    Tiles((20, 26), (14, 16), moments="proxy"),
    Tiles(24, moments="tile", ramp="linear"),
]

seeds = st.integers(0, 1 << 32)


def made(quality: str | Quality, budget: str = "1GB", **options: Any) -> Plan:
    return plan(CONFIG, 32, 44, budget, dtype="float32", device="cpu/mlx", quality=quality, **options)


def edited(text: str, *path: str | int, to: Any) -> str:
    return json.dumps(changed(json.loads(text), path, to, "replace"))


def same(back: Plan, first: Plan) -> bool:
    return (back, back.digest, back.to_json(), str(back)) == (first, first.digest, first.to_json(), str(first))


with pytest.MonkeyPatch.context() as patched:
    patched.setattr(layout, "PROXY", 6)
    SAVED = {str(quality): made(quality).to_json() for quality in QUALITIES}
