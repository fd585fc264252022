"""A plan is replayed on the decode it was made for, and on no other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.models import narrow, random_images, random_latents, random_vae
from zvae_tiled import Plan, plan
from zvae_tiled.errors import PlanError

CONFIG = narrow("flux1")
PLAN = plan(CONFIG, height=64, width=96, budget="1GB", dtype="float32", device="cpu")


def test_a_replayed_plan_is_reported() -> None:
    vae, latents = random_vae(CONFIG), random_latents(CONFIG, 8, 12)
    want = vae.decode(latents, output_type="np")
    got, report = vae.decode(latents, plan=Plan.from_json(PLAN.to_json()), output_type="np", return_report=True)
    assert np.array_equal(got, want)
    assert report.plan.sweeps == PLAN.sweeps
    assert report.measured_peak <= report.predicted_peak <= report.budget
    # The encoder is loaded too: the plan, made without a VAE, did not count it.
    assert report.predicted_peak == PLAN.predicted_peak + vae.weight_bytes - PLAN.weights


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"height": 9}, "height 9, this decode has 8"),
        ({"batch": 2}, "batch 2"),
        ({"dtype": "bfloat16"}, "dtype bfloat16"),
        ({"device": "metal"}, "device metal"),
        ({"config": narrow("sd3")}, "config"),
        ({"output": "rows"}, "no room in memory"),
        ({"sweeps": PLAN.sweeps[:-1]}, "ends before"),
        ({"sweeps": PLAN.sweeps[1:]}, "not the next one needed"),
        ({"budget": PLAN.predicted_peak}, "no room for them"),
    ],
)
def test_a_plan_for_something_else_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        random_vae(CONFIG).decode(random_latents(CONFIG, 8, 12), plan=replace(PLAN, **change))


ENCODE = plan(CONFIG, height=64, width=96, budget="1GB", dtype="float32", device="cpu", task="encode")


def test_a_plan_of_an_encode_is_replayed() -> None:
    vae, images = random_vae(CONFIG), random_images(CONFIG, 8, 12)
    want = vae.encode(images)
    got, report = vae.encode(images, plan=Plan.from_json(ENCODE.to_json()), return_report=True)
    assert np.array_equal(got.mean, want.mean)
    assert report.plan.sweeps == ENCODE.sweeps
    assert report.measured_peak <= report.predicted_peak <= report.budget
    assert report.predicted_peak == ENCODE.predicted_peak + vae.weight_bytes - ENCODE.weights
    assert str(report).startswith("encoded")
    assert "the latents" in str(ENCODE)


def test_a_plan_of_the_other_task_is_refused() -> None:
    vae = random_vae(CONFIG)
    with pytest.raises(PlanError, match='one for task="encode", this is task="decode"'):
        vae.decode(random_latents(CONFIG, 8, 12), plan=ENCODE)
    with pytest.raises(PlanError, match='one for task="decode", this is task="encode"'):
        vae.encode(random_images(CONFIG, 8, 12), plan=PLAN)
    with pytest.raises(PlanError, match="width 12, this encode has 11"):
        vae.encode(random_images(CONFIG, 8, 11), plan=ENCODE)
    with pytest.raises(PlanError, match="not the next one needed"):
        replace(ENCODE, task="decode").check()


def test_a_plan_and_a_budget_contradict_each_other() -> None:
    with pytest.raises(PlanError, match="its own budget"):
        random_vae(CONFIG).decode(random_latents(CONFIG, 8, 12), plan=PLAN, budget="1GB")
