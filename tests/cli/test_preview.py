"""`zvae decode --preview`: a quick look in a file, and an order of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.running import run
from zvae_tiled import VAE
from zvae_tiled.errors import InputError
from zvae_tiled.jobs import preview
from zvae_tiled.order import Order
from zvae_tiled.order import run as carry_out


def test_it_is_written_and_says_what_it_is(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "exact: same pixels as a full decode" in run("decode", "a.npy", "-o", "all.png", "--preview").stderr
    monkeypatch.setattr(preview, "SECONDS", 0.0)
    told = run("decode", "a.npy", "-o", "look.png", "--preview").stderr
    assert "quality    preview, not exact: the VAE itself, from latents shrunk" in told
    assert (place / "look.png").is_file()


@pytest.mark.parametrize("wrong", [["--quality", "stream"], ["--save-plan", "p.json"]])
def test_it_has_no_quality_and_no_plan(place: Path, wrong: list[str]) -> None:
    told = run("decode", "a.npy", "-o", "b.png", "--preview", *wrong, code=2).stderr
    assert "--preview: a quick look has no --quality and no plan" in told
    assert not (place / "b.png").exists()


def test_the_tiny_decoder_must_be_one(place: Path) -> None:
    assert "only --preview has a tiny decoder" in run("decode", "a.npy", "-o", "b.png", "--tiny", "vae", code=2).stderr
    told = run("decode", "a.npy", "-o", "b.png", "--preview", "--tiny", "vae", code=3).stderr
    assert "tiny must be a TAESD" in told
    assert not (place / "b.png").exists()


def test_an_order_of_a_preview(place: Path) -> None:
    order = Order("decode", str(place / "vae"), str(place / "a.npy"), str(place / "look.npy"), preview=True)
    carry_out(Order.from_json(order.to_json()))
    want = VAE.load(place / "vae").preview(np.load(place / "a.npy")).array()
    assert np.array_equal(np.load(place / "look.npy"), want[0])
    with pytest.raises(InputError, match="quality and plan have no effect on a preview"):
        replace(order, plan="{}").check()
