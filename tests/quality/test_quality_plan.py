"""`QualityPlan` as a value: saved, read back and replayed; what is no such plan, or for another decode, is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models import narrow, random_latents, random_vae
from tests.plan.tampering import changed, odd, paths
from tests.plans import random_config
from zvae_tiled import Plan, QualityPlan, VAEConfig, plan, read_plan
from zvae_tiled.errors import BudgetError, PlanError
from zvae_tiled.plan import quality
from zvae_tiled.plan.ends import PROCESS
from zvae_tiled.plan.request import Request

pytestmark = pytest.mark.usefixtures("mlx_kernels")  # the plans are made for them

CONFIG = VAEConfig(latent_channels=4, block_out_channels=(8, 8), norm_num_groups=4)
ASKED: list[dict[str, Any]] = [
    {"quality": "stream"},
    {"quality": "tiles"},
    {"quality": "tiles", "tile": 20, "overlap": 8, "ramp": "cosine"},
    {"quality": "tiles", "tile": (20, 26), "overlap": (14, 16), "moments": "proxy"},
    {"quality": "tiles", "tile": 24, "moments": "tile", "ramp": "linear"},
]


@pytest.fixture(autouse=True)
def small_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "PROXY", 6)


def made(asked: dict[str, Any], height: int = 32, width: int = 44, budget: str = "1GB", **options: Any) -> QualityPlan:
    options = {"dtype": "float32", "device": "cpu", **options}
    found = plan(CONFIG, height, width, budget, **options, **asked)
    assert isinstance(found, QualityPlan)
    return found


@given(st.integers(0, 1 << 32))
@settings(max_examples=25)
def test_a_plan_is_read_back_as_it_was(seed: int) -> None:
    rng = Random(seed)
    config = random_config(rng)
    height, width = (rng.randint(1, 60) * config.scale for _ in range(2))
    asked: dict[str, Any] = {"quality": "stream"}
    if rng.random() < 0.8:
        asked = {
            "quality": "tiles",
            "moments": rng.choice(["global", "proxy", "tile"]),
            "ramp": rng.choice(["linear", None]),
        }
    if rng.random() < 0.7 and asked["quality"] == "tiles":
        tile = [rng.randint(2, 30) for _ in range(2)]
        asked["tile"] = tuple(t * config.scale for t in tile)
        asked["overlap"] = tuple(rng.randint(0, t - 1) * config.scale for t in tile)
    options: dict[str, Any] = {"batch": rng.randint(1, 3), "device": rng.choice(["cpu", "metal", "cuda"])}
    found = plan(config, height, width, f"{rng.choice([0.1, 1, 9])}GB", **options, **asked)
    back = read_plan(found.to_json())
    assert back == found
    assert (back.digest, back.to_json(), str(back)) == (found.digest, found.to_json(), str(found))


def test_each_kind_reads_its_own_and_names_what_reads_both() -> None:
    tiles, exact = made(ASKED[2]), plan(CONFIG, 32, 44, "1GB", device="cpu")
    assert QualityPlan.from_json(tiles.to_json()) == tiles
    assert read_plan(exact.to_json()) == Plan.from_json(exact.to_json()) == exact
    with pytest.raises(PlanError, match=r"not exact\n.*zvae_tiled\.read_plan"):
        Plan.from_json(tiles.to_json())
    with pytest.raises(PlanError, match=r"of an exact decode\n.*zvae_tiled\.read_plan"):
        QualityPlan.from_json(exact.to_json())


SAVED = [json.loads(made(asked).to_json()) for asked in ASKED]


@given(st.data(), st.integers(0, len(SAVED) - 1), odd, st.sampled_from(["replace", "replace", "remove", "add"]))
@settings(max_examples=200, deadline=None)
def test_a_plan_that_was_tampered_with_is_refused_or_still_a_plan(
    data: st.DataObject, which: int, new: Any, how: str
) -> None:
    values = json.loads(json.dumps(SAVED[which]))
    path = data.draw(st.sampled_from(paths(values)))
    try:
        found = QualityPlan.from_json(json.dumps(changed(values, path, new, how)))
    except PlanError as error:
        assert "[plan]" in str(error)
        return
    assert read_plan(found.to_json()) == found
    assert str(found)
    assert found.predicted_flops >= 0
    assert found.expected_error
    # What decides about pixels is as it was, or was asked for otherwise.
    same = QualityPlan.from_json(json.dumps(SAVED[which]))
    assert (found.rows, found.columns, found.config) == (same.rows, same.columns, same.config)


WHOLE = made(ASKED[2])
GLOBAL = made({"quality": "tiles"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rows": WHOLE.rows[1:]}, "no grid"),
        ({"rows": ()}, "no tiles"),
        ({"columns": (replace(WHOLE.columns[0], low=1), *WHOLE.columns[1:])}, "no grid"),
        ({"columns": tuple(replace(span, low=span.start, high=span.stop) for span in WHOLE.columns)}, "no grid"),
        ({"rows": GLOBAL.rows}, "larger than what was asked for"),
        ({"request": replace(WHOLE.request, overlap=(8, 10))}, "share 8 pixels"),
        ({"request": replace(WHOLE.request, moments="tile")}, "no grid"),
        ({"request": replace(WHOLE.request, ramp="square")}, "ramp"),
        ({"request": replace(WHOLE.request, quality="stream")}, "has no tiles"),
        ({"request": Request("stream", moments="tile")}, "nobody can ask"),
        ({"request": replace(WHOLE.request, tile=(21, 20))}, "multiple of 2"),
        ({"middle": None}, "'middle' is missing"),
        ({"statistics": WHOLE.pixels}, "'statistics' is not one of this plan"),
        ({"pixels": GLOBAL.pixels}, "'pixels' is not one of this plan"),
        ({"factors": (2, 2)}, "need no proxy"),
        ({"factors": (17, 1)}, "does not fit the map"),
        ({"predicted_peak": 5}, "takes more than the plan predicts"),
        ({"height": 17}, "no grid"),
        ({"dtype": "bfloat16"}, "is not one of this plan"),
        ({"batch": 0}, "batch must be above 0"),
        ({"output": "tape"}, "output must be"),
        ({"budget": -1}, "budget must be a whole number"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(change: dict[str, Any], reason: str) -> None:
    broken = replace(WHOLE, **change)
    with pytest.raises(PlanError, match=reason):
        broken.check()
    with pytest.raises(PlanError, match=reason):
        read_plan(broken.to_json())


def test_a_middle_map_that_is_not_kept_is_refused() -> None:
    middle = WHOLE.middle
    assert middle is not None
    dropped = replace(middle, sweeps=(*middle.sweeps[:-1], replace(middle.sweeps[-1], store=None, medium=None)))
    with pytest.raises(PlanError, match="not kept"):
        replace(WHOLE, middle=dropped).check()


@pytest.mark.parametrize("asked", ASKED)
def test_a_replayed_plan_gives_the_same_bits(asked: dict[str, Any]) -> None:
    vae, latents = random_vae(CONFIG), random_latents(CONFIG, 16, 22)
    want, report = vae.decode(latents, output_type="np", return_report=True, budget="1GB", **asked)
    assert report.plan == vae.plan(32, 44, "1GB", **asked)
    for replay in (report.plan, made(asked)):  # the second was made without a VAE, and does not count its encoder
        got, again = vae.decode(latents, plan=read_plan(replay.to_json()), output_type="np", return_report=True)
        assert np.array_equal(got, want)
        assert (again.quality, again.exact, again.statistics) == (report.quality, report.exact, report.statistics)
        assert again.measured_peak <= again.predicted_peak - PROCESS < again.predicted_peak <= again.budget
        assert again.plan.weights == vae.weight_bytes


def test_a_replayed_plan_streams() -> None:
    vae, latents = random_vae(CONFIG), random_latents(CONFIG, 16, 22)
    rows = [np.asarray(row) for row in vae.stream(latents, plan=WHOLE)]
    assert np.array_equal(np.concatenate(rows, axis=1), vae.decode(latents, plan=WHOLE, output_type="np"))


def test_a_replayed_plan_counts_what_a_file_gathers(tmp_path: Path) -> None:
    vae, latents = random_vae(CONFIG), random_latents(CONFIG, 16, 22)
    streamed = made(ASKED[2], output="rows")
    report = vae.decode_to_file(latents, tmp_path / "a.webp", plan=streamed)
    assert report.plan.gathered > 0
    assert (
        report.predicted_peak == streamed.predicted_peak + report.plan.gathered + report.plan.weights - streamed.weights
    )
    assert report.measured_peak <= report.predicted_peak - PROCESS


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"height": 15}, "no grid"),
        ({"config": narrow("sd3")}, "multiple of 8"),
        ({"batch": 2}, "batch 2"),
        ({"output": "rows"}, "no room in memory for what is finished"),
        ({"budget": WHOLE.predicted_peak}, "is not one of this plan"),
    ],
)
def test_a_plan_for_something_else_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        random_vae(CONFIG).decode(random_latents(CONFIG, 16, 22), plan=replace(WHOLE, **change))


def test_what_contradicts_a_plan_is_refused() -> None:
    vae, latents = random_vae(CONFIG), random_latents(CONFIG, 16, 22)
    contradictions: list[dict[str, Any]] = [{"quality": "stream"}, {"budget": "1GB"}]
    for asked in contradictions:
        with pytest.raises(PlanError, match="Leave one of them out"):
            vae.decode(latents, plan=WHOLE, **asked)
    with pytest.raises(PlanError, match="height 16, this decode has 15"):
        vae.decode(random_latents(CONFIG, 15, 22), plan=WHOLE)
    with pytest.raises(PlanError, match="read_plan"):
        vae.decode(latents, plan=WHOLE.to_json())  # type: ignore[arg-type]
    assert WHOLE.middle is not None
    with pytest.raises(PlanError, match="for a stage"):
        vae.decode(latents, plan=WHOLE.middle)
    tight = made(ASKED[2], budget=f"{WHOLE.predicted_peak}B")
    with pytest.raises(PlanError, match="no room for them"):  # the encoder's weights
        vae.decode(latents, plan=tight)


@pytest.mark.parametrize(
    "wrong", [{"batch": 0}, {"batch": 1.0}, {"output": "tape"}, {"tile": True}, {"ramp": []}, {"moments": 3}]
)
def test_what_cannot_be_planned_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match=next(iter(wrong))):
        made({"quality": "tiles"}, **wrong)


def test_a_plan_of_another_quality_names_the_smallest_budget() -> None:
    with pytest.raises(BudgetError) as refused:
        made(ASKED[2], budget="1KB")
    assert made(ASKED[2], budget=f"{refused.value.needed}B").predicted_peak <= refused.value.needed
