"""Plans in files: small, and read back as they were. Costs in a file are ignored."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.planner.saved import CONFIG, SAVED, TILES, edited, made, same, seeds
from tests.planner.tampering import changed, odd, paths
from tests.support.models import random_latents, random_vae
from tests.support.plans import TASKS, random_any, random_plan
from zvae_tiled import plan, read_plan
from zvae_tiled.errors import PlanError
from zvae_tiled.planner.case import ITEMSIZES
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.files import MAX_BYTES
from zvae_tiled.planner.quality import Quality, Stream, Tiles
from zvae_tiled.planner.stage import EXECUTED

pytestmark = pytest.mark.usefixtures("small_proxies")


@given(seeds)
def test_an_exact_plan_is_read_back_as_it_was(seed: int) -> None:
    rng = Random(seed)
    height, width = rng.randint(1, 99), rng.randint(1, 99)
    dtype, batch, task = rng.choice(sorted(ITEMSIZES)), rng.randint(1, 3), rng.choice(TASKS)
    first = random_plan(random_any(rng), height, width, dtype, rng, batch, task=task)
    assert same(read_plan(first.to_json()), first)


@given(seeds)
@example(283)  # the middle block is empty: the latents themselves are what is kept
@settings(max_examples=25)
def test_a_plan_of_tiles_or_a_stream_is_read_back_as_it_was(seed: int) -> None:
    rng = Random(seed)
    config = random_any(rng)
    height, width = (rng.randint(1, 60) * config.cell for _ in range(2))
    quality: Quality = Stream()
    if rng.random() < 0.8:
        asked: dict[str, Any] = {
            "moments": rng.choice(["global", "proxy", "tile"]),
            "ramp": rng.choice(["linear", "cosine", "smootherstep"]),
        }
        if rng.random() < 0.7:
            tile = [rng.randint(2, 30) for _ in range(2)]
            asked["tile"] = tuple(t * config.scale for t in tile)
            asked["overlap"] = tuple(rng.randint(0, t - 1) * config.scale for t in tile)
        quality = Tiles(**asked)
    options: dict[str, Any] = {
        "batch": rng.randint(1, 3),
        "device": rng.choice(["cpu", "cpu/mlx", "metal", "cuda"]),
        "task": rng.choice(["decode", "stream"]),
    }
    first = plan(config, height, width, f"{rng.choice([0.1, 1, 9])}GB", quality=quality, **options)
    assert same(read_plan(first.to_json()), first)


@pytest.mark.parametrize(
    "quality", ["exact", "stream", "tiles", Tiles(1024, 256), Tiles(512, 64, moments="tile")], ids=str
)
@pytest.mark.parametrize("size", [1024, 1 << 20])
@pytest.mark.sample(3)
def test_a_saved_plan_is_small_whatever_the_picture(quality: str | Quality, size: int) -> None:
    found = plan("z-image", size, size, "100TB", device="cpu", task="stream", quality=quality)
    text = found.to_json()
    assert len(text) < 16_000 < MAX_BYTES
    assert read_plan(text) == found


def test_a_digest_is_the_same_in_another_process() -> None:
    code = "import sys, zvae_tiled; print(zvae_tiled.read_plan(sys.stdin.read()).digest)"
    for first in (plan("z-image", 1024, 768, "400MB"), made(TILES)):
        child = subprocess.run([sys.executable, "-c", code], input=first.to_json(), capture_output=True, text=True)
        assert child.stdout.split() == [first.digest], child.stderr


def costs(values: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The places of all costs in a file."""
    yield from (("predicted", *rest) for rest in paths(values["predicted"]))
    for name, stage in values["stages"].items():
        for number, sweep in enumerate(stage["sweeps"]):
            yield from (("stages", name, "sweeps", number, field) for field in sweep.keys() - set(EXECUTED))


@pytest.mark.slow
@given(st.data(), st.sampled_from(sorted(SAVED)), st.one_of(odd, st.sampled_from([1, 10**18, -1])))
@settings(max_examples=25)
def test_what_a_file_says_of_costs_is_ignored(data: st.DataObject, which: str, new: Any) -> None:
    values, want = json.loads(SAVED[which]), read_plan(SAVED[which])
    places = sorted(costs(values), key=str)
    assert len(places) > 10
    for place in data.draw(st.lists(st.sampled_from(places), min_size=1, unique=True)):
        try:
            changed(values, place, new, data.draw(st.sampled_from(["replace", "remove"])))
        except (KeyError, TypeError):  # an outer place was removed before
            continue
    assert same(read_plan(json.dumps(values)), want)


@pytest.mark.usefixtures("mlx_kernels")
@pytest.mark.parametrize("quality", ["exact", pytest.param(TILES, marks=pytest.mark.slow)], ids=str)
def test_a_decode_checks_what_the_sweeps_need_not_what_the_file_says(quality: str | Quality) -> None:
    """A file whose costs are zero is refused if its budget is too small. One whose costs are too high is replayed."""
    vae, latents = random_vae(CONFIG), random_latents(CONFIG, 16, 22)
    roomy = vae.plan(32, 44, "1GB", quality=quality)
    values = json.loads(roomy.to_json())
    for stage in values["stages"].values():
        stage["sweeps"] = [{**sweep, "peak": 1, "flops": 0, "io": 0, "seconds": 0.0} for sweep in stage["sweeps"]]
    values["predicted"] = {"peak": 1, "weights": 0, "gathered": 0, "spilled": 0, "flops": 0, "seconds": 0.0}
    for budget in (2, roomy.predicted_peak - 1):
        with pytest.raises(PlanError, match=r"the plan needs [\d,]+ MB here, including .* of weights") as refused:
            vae.decode(latents, plan=read_plan(json.dumps({**values, "budget": budget})))
        assert "its budget is" in str(refused.value)
    values["predicted"]["peak"] = 10**18
    values["budget"] = roomy.predicted_peak
    _, report = vae.decode(latents, plan=read_plan(json.dumps(values)), return_report=True)
    assert report.measured_peak <= report.predicted_peak - PROCESS
    assert report.predicted_peak == roomy.predicted_peak == report.budget


def test_a_file_of_more_bytes_than_a_plan_has_is_refused() -> None:
    text = made("exact").to_json()
    assert read_plan(text + " " * (MAX_BYTES - len(text))) == made("exact")
    with pytest.raises(PlanError, match=f"at most {MAX_BYTES:,} bytes, this one has {MAX_BYTES + 1:,}"):
        read_plan(text + " " * (MAX_BYTES + 1 - len(text)))


def test_a_plan_of_another_cpu_is_costed_for_the_kernels_here() -> None:
    here = plan("z-image", 256, 256, "1GB", device="cpu")
    there = edited(here.to_json(), "case", "device", to="cpu/made_next_year")
    assert read_plan(there) == here
