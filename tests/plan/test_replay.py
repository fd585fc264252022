"""A plan is replayed on the decode it was made for, and on no other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.models import narrow, random_latents, random_vae
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
        ({"output": "rows"}, "no room for finished pictures"),
        ({"sweeps": PLAN.sweeps[:-1]}, "ends before"),
        ({"sweeps": PLAN.sweeps[1:]}, "not the next one needed"),
        ({"budget": PLAN.predicted_peak}, "no room for them"),
    ],
)
def test_a_plan_for_something_else_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        random_vae(CONFIG).decode(random_latents(CONFIG, 8, 12), plan=replace(PLAN, **change))


def test_a_plan_and_a_budget_contradict_each_other() -> None:
    with pytest.raises(PlanError, match="its own budget"):
        random_vae(CONFIG).decode(random_latents(CONFIG, 8, 12), plan=PLAN, budget="1GB")
