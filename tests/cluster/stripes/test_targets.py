"""The files of an order in stripes are those of the same order in one process, byte for byte."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.cluster.places import SIZES
from tests.support.striped import Here
from zvae_tiled.cluster import striped
from zvae_tiled.cluster.stripes.machine import this_machine
from zvae_tiled.cluster.stripes.worker import engine_of, planned
from zvae_tiled.jobs.job import Terms
from zvae_tiled.jobs.orders import load
from zvae_tiled.order import Order, run

DECODE = Order("decode", "vae", "1.npy", "out/a.png", dtype="float32")
ENCODE = Order("encode", "vae", "picture.png", "out/a.safetensors")


@pytest.mark.parametrize(
    "order",
    [
        replace(DECODE, bits=16, also=("out/b.tiff", "out/c.npy")),
        replace(DECODE, also=("out/b.png",)),
        replace(ENCODE, sample=3),
    ],
)
def test_the_files_are_those_of_one_process(order: Order, place: Path) -> None:
    run(order)
    wanted = {path: path.read_bytes() for path in Path("out").iterdir()}
    assert sorted(map(Path, order.targets)) == sorted(wanted)
    for path in wanted:
        path.unlink()
    vae = load(order)
    height, width = SIZES[1] if order.task == "decode" else (12 // vae.config.scale, 20 // vae.config.scale)
    plan = planned(order, height, width, 3, 3, 1 << 40, 1, [this_machine()])
    carry_out = striped._decode if order.task == "decode" else striped._encode
    carry_out(order, vae, Terms(), plan, Here(), partial(engine_of, order))
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == wanted
    if order.bits == 16:
        assert wanted[Path("out/a.png")][24] == 16, "a PNG says so there"
