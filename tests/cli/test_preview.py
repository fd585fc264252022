"""`zvae decode --preview`: a quick look in a file, and an order of one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.running import CONFIG, run
from zvae_tiled import VAE
from zvae_tiled.errors import BudgetError, InputError
from zvae_tiled.families import table, tiny
from zvae_tiled.jobs import preview
from zvae_tiled.order import Order
from zvae_tiled.order import run as carry_out


def test_it_is_written_and_says_what_it_is(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "exact: same pixels as a full decode" in run("decode", "a.npy", "-o", "all.png", "--preview").stderr
    early = run("decode", "a.npy", "-o", "all.png", "--early-look").stderr
    assert "early look all.preview.png, exact" in early
    assert (place / "all.preview.png").read_bytes() == (place / "all.png").read_bytes()
    monkeypatch.setattr(preview, "SECONDS", 0.0)
    told = run("decode", "a.npy", "-o", "look.png", "--preview").stderr
    assert "quality    preview, not exact: the VAE itself, from latents shrunk" in told
    assert (place / "look.png").is_file()


@pytest.mark.parametrize("wrong", [["--quality", "stream"], ["--save-plan", "p.json"]])
def test_it_has_no_quality_and_no_plan(place: Path, wrong: list[str]) -> None:
    told = run("decode", "a.npy", "-o", "b.png", "--preview", *wrong, code=2).stderr
    assert "--preview: a quick look has no --quality and no plan" in told
    assert not (place / "b.png").exists()


@pytest.mark.parametrize(("option", "field"), [("--work", "work"), ("--disk-limit", "disk_limit")])
def test_it_keeps_nothing_on_disk(option: str, field: str, place: Path) -> None:
    told = run("decode", "a.npy", "-o", "b.png", "--preview", option, "1GB", code=2).stderr
    assert option in told
    assert not (place / "b.png").exists()
    order = Order("decode", "vae", "a.npy", "b.png", preview=True)
    with pytest.raises(InputError, match=f"an order's {field} has no effect on a preview"):
        Order.from_json(json.dumps({**json.loads(order.to_json()), field: "1GB"}))
    run("decode", "a.npy", "-o", "b.png", "--early-look", "--disk-limit", "1GB")
    assert (place / "b.preview.png").exists()


def test_the_tiny_decoder_must_be_one(place: Path) -> None:
    assert (
        "--preview and --early-look have a tiny decoder"
        in run("decode", "a.npy", "-o", "b.png", "--tiny", "vae", code=2).stderr
    )
    told = run("decode", "a.npy", "-o", "b.png", "--preview", "--tiny", "vae", code=3).stderr
    assert "tiny must be a TAESD" in told
    told = run("decode", "a.npy", "-o", "b.png", "--preview", "--tiny", "taef1", code=3).stderr
    assert "taef1 needs a model with that VAE in the Hugging Face cache" in told
    assert not (place / "b.png").exists()


def test_an_early_look_is_there_before_the_picture(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "SECONDS", 0.0)
    order: list[bool] = []
    decode = VAE.decode_to_file

    def watched(*args: Any, **options: Any) -> Any:
        order.append((place / "big.preview.png").is_file() and not (place / "big.tif").exists())
        return decode(*args, **options)

    monkeypatch.setattr(VAE, "decode_to_file", watched)
    told = run("decode", "a.npy", "-o", "big.tif", "-o", "big.npy", "--quality", "stream", "--early-look").stderr
    assert order == [True]
    assert "early look big.preview.png, not exact: the VAE itself, from latents shrunk" in told
    with Image.open(place / "big.preview.png") as early:
        assert early.text["zvae_quality"].startswith("preview, not exact")  # type: ignore[attr-defined]


def test_early_looks_of_a_batch_that_are_there_stay(place: Path) -> None:
    np.save(place / "two.npy", np.repeat(np.load(place / "a.npy"), 2, axis=0))
    words = ["decode", "two.npy", "-o", "two.png", "--early-look", "--no-overwrite"]
    run(*words)
    for number in (0, 1):
        (place / f"two-{number}.png").unlink()
    told = run(*words).stderr
    assert "early look two.preview.png is there" in told
    assert (place / "two-1.png").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BudgetError("no room", "Raise the budget."), "no room"),
        (MemoryError(), "memory ran out while planning a quick look"),
    ],
)
def test_an_early_look_that_cannot_be_had_does_not_stop_the_picture(
    error: Exception, said: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("zvae_tiled.vae.Preview", refuse)
    told = run("decode", "a.npy", "-o", "b.png", "--early-look").stderr
    assert "b.preview.png is not written" in told
    assert said in told
    assert (place / "b.png").is_file()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (["-o", "b.png", "--preview"], "remove one"),
        (["-o", "-"], "named after the picture's file"),
        (["-o", "b.png", "--workers", "2"], "--early-look is written here"),
        (["-o", "a.png", "-o", "a.preview.png"], "a.preview.png"),
    ],
)
def test_where_an_early_look_cannot_be(place: Path, wrong: list[str], why: str) -> None:
    assert why in run("decode", "a.npy", *wrong, "--early-look", code=2).stderr
    assert not list(place.glob("*.png"))


@pytest.mark.parametrize("named", [None, "taef1", "taef1.safetensors"])
def test_the_picture_does_not_replace_the_tiny_decoder(
    named: str | None, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named is None:
        monkeypatch.setitem(table.PRESETS, "toy", CONFIG)
        monkeypatch.setitem(tiny.TINY_OF, "toy", "taef1")
    folder = place / "hub" / "models--madebyollin--taef1" / "snapshots" / "f00"
    folder.mkdir(parents=True)
    weights = folder / "taef1.safetensors"
    weights.write_bytes(b"weights")
    file = weights.rename(place / named) if named == weights.name else weights
    words = [] if named is None else ["--tiny", named]
    said = run("decode", "a.npy", "-o", file, "--early-look", *words, code=2).stderr
    assert "taef1.safetensors is an input" in said
    assert file.read_bytes() == b"weights"


def test_an_order_of_a_preview(place: Path) -> None:
    order = Order("decode", str(place / "vae"), str(place / "a.npy"), str(place / "look.npy"), preview=True)
    carry_out(Order.from_json(order.to_json()))
    want = VAE.load(place / "vae").preview(np.load(place / "a.npy")).array()
    assert np.array_equal(np.load(place / "look.npy"), want[0])
    with pytest.raises(InputError, match="quality and plan have no effect on a preview"):
        replace(order, plan="{}").check()
