"""Wrong arguments that the campaign found: each is refused in words of this package (docs/reliability.md)."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import mlx.core as mx
import numpy as np
import pytest

from tests.support.models import random_images, random_latents, random_vae
from tests.support.running import CONFIG, run
from tests.support.video import SMALL, video_latents, video_vae
from zvae_tiled import (
    VAE,
    Latents,
    Sampled,
    Tiles,
    calibrate,
    cluster,
    decode_tiled,
    demo,
    order,
    read_latent_file,
    set_default_vae,
    write_latent_file,
)
from zvae_tiled import plan as planned
from zvae_tiled.adapters import mflux
from zvae_tiled.errors import InputError, OutputError, WeightsError, ZvaeError
from zvae_tiled.families import config_from
from zvae_tiled.order import Order
from zvae_tiled.order import run as run_order

LATENTS = random_latents(CONFIG, 3, 4)
ARRAY: Any = np.zeros(3)
BYTES: Any = b"vae"
TUPLE: Any = ()
HUGE: Any = 10**5000
SET: Any = {1}
TYPE: Any = int
MODEL = random_vae(CONFIG)
VIDEO = video_vae(SMALL).video(video_latents(SMALL, 1, 2, 2))
ORDER = Order("decode", "vae", "latents.npy", "a.npy")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("latents.npy", LATENTS)
    return tmp_path


FLAGS: dict[str, Callable[[], Any]] = {
    "overwrite": lambda: MODEL.decode_to_file(LATENTS, "a.npy", overwrite=ARRAY),
    "overwrite of latents": lambda: write_latent_file("b.npy", LATENTS, overwrite=ARRAY),
    "scaled": lambda: MODEL.decode(Latents(LATENTS, scaled=ARRAY)),
    "scaled of an encode": lambda: MODEL.encode(random_images(CONFIG, 3, 4), scaled=ARRAY),
    "raw": lambda: MODEL.decode(LATENTS, raw=ARRAY),
    "return_report": lambda: MODEL.decode(LATENTS, return_report=ARRAY),
    "progress": lambda: MODEL.decode(LATENTS, progress=ARRAY),
    "work": lambda: MODEL.plan(6, 8, work=ARRAY),
    "work of plan": lambda: planned(CONFIG, 6, 8, work=ARRAY),
    "texts": lambda: read_latent_file("latents.npy", texts=ARRAY),
    "decoder_only": lambda: VAE.from_state_dict(dict(MODEL.weights), CONFIG, decoder_only=ARRAY),
    "video": lambda: VAE.from_state_dict(dict(MODEL.weights), CONFIG, video=ARRAY),
    "overwrite of a video": lambda: VIDEO.write("a.rgb", overwrite=ARRAY),
    "release": lambda: mflux.use(SimpleNamespace(vae=MODEL, callbacks=None), release=ARRAY),
    "replace": lambda: calibrate(replace=ARRAY),
}


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_that_is_an_array_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name.split()[0]} must be True or False, it is"):
        FLAGS[name]()


def closed() -> io.BytesIO:
    file = io.BytesIO(b"content")
    file.close()
    return file


OTHERS: dict[str, tuple[Callable[[], Any], str]] = {
    "bits": (lambda: MODEL.decode_to_file(LATENTS, "a.png", bits=ARRAY), "bits= must be 8 or 16"),
    "bits of a video": (lambda: VIDEO.write("a.rgb", bits=ARRAY), "raw frames have 8 bits, bits=array"),
    "pixels of a video": (lambda: VIDEO.frames(BYTES), r"\[input\] dtype must be one of float32, uint8"),
    "texts": (lambda: MODEL.decode_to_file(Latents(LATENTS, texts=ARRAY), "a.png"), "texts must be a dict"),
    "texts of latents": (
        lambda: write_latent_file("b.safetensors", Latents(LATENTS, texts=ARRAY)),
        "texts must be a dict",
    ),
    "key": (lambda: MODEL.encode(random_images(CONFIG, 3, 4)).sample(BYTES), "key must be made by mx.random.key"),
    "another key": (lambda: MODEL.encode(random_images(CONFIG, 3, 4)).sample(mx.zeros(2)), "key must be made by"),
    "name": (lambda: read_latent_file("latents.npy", HUGE), "holds no tensor a number of more than 60 digits"),
    "name of the demo": (lambda: demo.path(HUGE), "are called a number of more than 60 digits"),
    "a tolerance": (lambda: Sampled(tolerance=HUGE), "tolerance must be a number above 0, and 1e[+]06 at most"),
    "sizes of tiles": (lambda: Tiles(tile=(HUGE, 1, 1)), "a number of more than 60 digits"),  # type: ignore[arg-type]
    "a config": (lambda: config_from({"block_out_channels": [HUGE]}, "it"), "a number of more than 60 digits"),
    "order": (lambda: run_order(TUPLE), "order must be an Order"),
    "order to load": (lambda: order.load(TUPLE), "order must be an Order"),
    "vae of an order": (lambda: run_order(ORDER, vae=TUPLE), "vae must be a VAE"),
    "vae": (lambda: decode_tiled(LATENTS, vae=BYTES), "vae must be a VAE or a path"),
    "default vae": (lambda: set_default_vae(BYTES), "vae must be a VAE or a path"),
    "orders": (lambda: cluster.decode_many(TYPE), "orders must be a list of Orders"),
    "progress": (lambda: cluster.decode_many([ORDER], progress=SET), "progress must be a function"),
    "client": (lambda: cluster.decode_many([ORDER], [1]), "client must be a distributed.Client"),
    "a closed stream": (lambda: read_latent_file(closed()), "the stream cannot be read: I/O operation on closed"),
    "progress of calibrate": (lambda: calibrate(SET), "progress must be a function"),
    "work": (lambda: MODEL.decode_to_file(LATENTS, "a.npy", work="\ud800"), "work must be a path"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_an_argument_cannot_be_is_refused(name: str) -> None:
    called, reason = OTHERS[name]
    with pytest.raises(ZvaeError, match=reason):
        called()


LONG = "x" * 300


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        (lambda: MODEL.decode("latents.npy"), "Read the file first: zvae_tiled.read_latent_file('latents.npy')."),
        (lambda: MODEL.encode(Path("a.png")), "Read the file first: PIL.Image.open('a.png')."),
        (lambda: MODEL.decode(LATENTS.tolist()), "Make an array of it: numpy.array(…)."),
        (lambda: MODEL.decode(None), "Pass an array."),
        (lambda: MODEL.decode_to_file("x.png", LATENTS), "Latents come first: (latents, 'x.png')."),  # type: ignore[arg-type]
        (lambda: MODEL.decode(LATENTS, "numpy"), "Did you mean np?"),  # type: ignore[arg-type]
        (lambda: MODEL.decode(LATENTS, dtype="Float32 "), "Did you mean float32?"),  # type: ignore[arg-type]
        (lambda: MODEL.decode(LATENTS, quality="tile"), "Did you mean tiles?"),
        (lambda: VAE.from_state_dict({}, CONFIG, "bf16"), "Did you mean bfloat16?"),
        (lambda: VAE("demo"), "Load one: VAE.demo()."),  # type: ignore[arg-type]
        (lambda: VAE("z-image"), "Load one: VAE.load('z-image')."),  # type: ignore[arg-type]
        (lambda: VAE(CONFIG), "Load one: VAE.load(path)."),
        (
            lambda: MODEL.plan(cast(Any, "64"), 64),
            "it is '64'\n       Pass a whole number (an int).",
        ),  # not: the nearest is 8
        (lambda: MODEL.plan(64, cast(Any, 64.0)), "it is 64.0\n       Pass a whole number (an int)."),
    ],
)
def test_the_advice_fits_what_was_passed(call: Callable[[], Any], advice: str) -> None:
    with pytest.raises(InputError) as refused:
        call()
    assert advice in str(refused.value)


def test_names_that_are_too_long_for_the_system_are_refused() -> None:
    with pytest.raises(WeightsError, match="name too long"):
        VAE.load(f"{LONG}.safetensors")
    with pytest.raises(OutputError, match="name too long"):
        cluster.decode_many([], manifest=LONG)
    with pytest.raises(InputError, match="name too long"):
        planned(f"{LONG}.json", 6, 8)
    run("inspect", LONG, code=3)
    run("plan", "64", "--vae", LONG, code=3)


def test_latents_that_the_system_makes_up_are_refused() -> None:
    """A file of the system that is regular, but has no end."""
    with pytest.raises(InputError, match="/proc/self/mem cannot be read"):
        read_latent_file("/proc/self/mem")


def test_a_time_that_nobody_has_is_refused() -> None:
    assert "not in the range" in run("benchmark", "--seconds", "9" * 400, code=2).stderr


def test_a_name_in_no_encoding_is_printed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check was made and its file was written; then its name could not be printed."""
    monkeypatch.setattr("zvae_tiled.cli.selfcheck.checked", lambda *_: {"rows": [], "parity": {"skipped": "a test"}})
    found = run("selfcheck", "-q", "--vae", "demo", "--submit-file", "\udcff")
    assert b"The figures are in \xff." in found.stdout_bytes
    assert Path("\udcff").exists()


def test_a_budget_that_cannot_be_printed_is_refused() -> None:
    endless: Any = []
    endless.append(endless)
    budgets: list[Any] = [HUGE, [HUGE], endless]
    for budget in budgets:
        for call in (MODEL.decode, partial(MODEL.decode_to_file, path="a.npy")):
            with pytest.raises(InputError, match="budget"):
                call(LATENTS, budget=budget)
