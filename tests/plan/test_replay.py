"""A plan is replayed on the decode it was made for, and on no other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.models import narrow, random_images, random_latents, random_vae
from zvae_tiled import Plan, plan
from zvae_tiled.chain import Task
from zvae_tiled.errors import PlanError
from zvae_tiled.kernels.device import this_device
from zvae_tiled.plan.calibration import MarginWorkspace
from zvae_tiled.plan.device import CPU
from zvae_tiled.plan.plan import Output
from zvae_tiled.plan.recost import peak_here

pytestmark = pytest.mark.usefixtures("mlx_kernels")  # the plans are made for them

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


@pytest.mark.parametrize("task", ["decode", "encode"])
@pytest.mark.parametrize("output", ["array", "rows"])
@pytest.mark.parametrize("batch", [1, 3])
def test_costed_again_where_it_was_made_a_plan_needs_what_it_needed(task: Task, output: Output, batch: int) -> None:
    for budget in ("1TB", "13MB"):
        made = plan(CONFIG, 96, 64, budget, batch=batch, dtype="float32", device="cpu", output=output, task=task)
        assert peak_here(made, CPU) == made.predicted_peak


@pytest.mark.parametrize("moments", ["global", "proxy", "tile"])
def test_so_do_tiles(moments: str) -> None:
    made = plan(CONFIG, 256, 192, "20MB", dtype="float32", device="cpu", quality="tiles", tile=128, moments=moments)
    assert 0.9 * made.predicted_peak <= peak_here(made, CPU) <= made.predicted_peak


def test_a_plan_that_hungrier_kernels_would_break_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    vae, latents = random_vae(CONFIG), random_latents(CONFIG, 8, 12)
    tight = vae.plan(64, 96, "1GB")
    tight = replace(tight, budget=tight.predicted_peak)
    vae.decode(latents, plan=tight)
    hungry = replace(this_device(mx.float32), workspace=MarginWorkspace(this_device(mx.float32).workspace, 2.0))
    monkeypatch.setattr("zvae_tiled.vae.this_device", lambda dtype: hungry)
    with pytest.raises(PlanError, match="kernels that compute here"):
        vae.decode(latents, plan=tight)
