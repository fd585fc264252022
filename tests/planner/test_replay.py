"""A plan is replayed only for the case it was made for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.support.models import narrow, random_images, random_latents, random_vae
from tests.support.plans import with_sweeps
from zvae_tiled import Plan, plan, read_plan
from zvae_tiled.devices.here import this_device
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.devices.mlx_gpu.memory import METAL
from zvae_tiled.errors import BudgetError, PlanError
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.planner.calibration import MarginWorkspace
from zvae_tiled.planner.case import PlannedTask
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.grid import Grid
from zvae_tiled.planner.quality import Exact, Quality, Tiles
from zvae_tiled.planner.replay import costed, replayed
from zvae_tiled.planner.stage import Medium, Sweep

pytestmark = pytest.mark.usefixtures("small_proxies", "mlx_kernels")  # the plans are for MLX's kernels

CONFIG = replace(narrow("flux1"), layers_per_block=1)
PLAN = plan(CONFIG, height=64, width=96, budget="1GB", dtype="float32", device="cpu/mlx")

SMALL = AutoencoderKLConfig(latent_channels=4, block_out_channels=(8, 8), norm_num_groups=4)
QUALITIES: list[str | Quality] = [
    "stream",
    "tiles",
    Tiles(20, 8, "cosine"),
    Tiles((20, 26), (14, 16), moments="proxy"),
    Tiles(24, moments="tile", ramp="linear"),
]


def made(quality: str | Quality, budget: str = "1GB", **options: Any) -> Plan:
    return plan(SMALL, 24, 32, budget, dtype="float32", device="cpu/mlx", quality=quality, **options)


TILES = made(QUALITIES[2])


def executed(found: Plan) -> list[Any]:
    return [sweep.executed for sweep in found.sweeps]


@pytest.mark.slow
def test_a_replayed_plan_is_reported() -> None:
    vae, latents = random_vae(CONFIG), random_latents(CONFIG, 8, 12)
    want = vae.decode(latents, output_type="np")
    got, report = vae.decode(latents, plan=read_plan(PLAN.to_json()), output_type="np", return_report=True)
    assert np.array_equal(got, want)
    assert executed(report.plan) == executed(PLAN)
    assert report.measured_peak <= report.predicted_peak - PROCESS < report.predicted_peak <= report.budget
    # The encoder is loaded too: the plan, made without a VAE, did not count it.
    assert report.predicted_peak == PLAN.predicted_peak + vae.weight_bytes - PLAN.weights


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"height": 9}, "a height in pixels of 72, this decode has 64"),
    ({"width": 9}, "a width in pixels of 72, this decode has 96"),
    ({"batch": 2}, "batch 2"),
    ({"dtype": "bfloat16"}, "dtype bfloat16"),
    ({"device": "metal"}, "device metal, this decode has cpu"),
    (
        {"config": replace(narrow("sd3"), layers_per_block=1)},
        r"config scaling_factor=1\.5305, shift_factor=0\.0609, this decode has other values",
    ),
    (
        {"output": "rows"},
        r'made with task="stream".*reserve memory for the finished picture\n.*Make it with task="deco',
    ),
]


@pytest.mark.parametrize(("change", "reason"), OTHERS)
def test_a_plan_for_something_else_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        random_vae(CONFIG).decode(random_latents(CONFIG, 8, 12), plan=replace(PLAN, case=replace(PLAN.case, **change)))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (with_sweeps(PLAN, PLAN.sweeps[:-1]), "ends before"),
        (with_sweeps(PLAN, PLAN.sweeps[1:]), "not the next one needed"),
        (replace(PLAN, stages=()), "has the stages pixels, this one has others"),
        (replace(PLAN, stages=PLAN.stages * 2), "has the stages pixels, this one has others"),
        (
            replace(PLAN, budget=PLAN.predicted_peak),
            r"needs \d+ MB here, including .* of weights and .* of finished rows",
        ),
        (replace(PLAN, quality=Tiles()), "tiles do not match its quality|cannot be kept in"),
    ],
)
def test_a_plan_that_was_tampered_with_is_refused(broken: Plan, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        random_vae(CONFIG).decode(random_latents(CONFIG, 8, 12), plan=broken)


@pytest.mark.parametrize(
    "quality", ["exact", *(pytest.param(each, marks=pytest.mark.slow) for each in QUALITIES[3:5])], ids=str
)
def test_what_a_plan_says_of_costs_is_not_believed(quality: str | Quality) -> None:
    """Costs, sizes and memory of stages, the proxy's factors: all are computed from case, tile and sweeps."""
    vae, latents = random_vae(SMALL), random_latents(SMALL, 12, 16)
    honest = vae.plan(24, 32, "1GB", quality=quality)
    stages = tuple(
        replace(
            stage, height=1, width=1, base=0, finished=0, kept=0, known=(), start=0, stop=None, needed_flops=0,
            sweeps=tuple(Sweep(*sweep.executed) for sweep in stage.sweeps),
        )
        for stage in honest.stages
    )  # fmt: skip
    lying = replace(honest, stages=stages, factors=(9, 9), predicted_peak=1, spilled=0, weights=0, gathered=0)
    want = vae.decode(latents, plan=honest, output_type="np")
    got, report = vae.decode(latents, plan=lying, output_type="np", return_report=True)
    assert np.array_equal(got, want)
    assert report.plan == honest
    assert report.measured_peak <= report.predicted_peak - PROCESS < report.predicted_peak == honest.predicted_peak
    with pytest.raises(PlanError, match="its budget is"):
        vae.decode(latents, plan=replace(lying, budget=honest.predicted_peak - 1))


ENCODE = plan(CONFIG, height=64, width=96, budget="1GB", dtype="float32", device="cpu/mlx", task="encode")


def test_a_plan_of_an_encode_is_replayed() -> None:
    vae, images = random_vae(CONFIG), random_images(CONFIG, 8, 12)
    want = vae.encode(images)
    got, report = vae.encode(images, plan=read_plan(ENCODE.to_json()), return_report=True)
    assert np.array_equal(got.mean, want.mean)
    assert executed(report.plan) == executed(ENCODE)
    assert report.measured_peak <= report.predicted_peak - PROCESS < report.predicted_peak <= report.budget
    assert report.predicted_peak == ENCODE.predicted_peak + vae.weight_bytes - ENCODE.weights
    assert str(report).startswith("encoded")
    assert "the latents" in ENCODE.table()


def test_a_plan_of_the_other_task_is_refused() -> None:
    vae = random_vae(CONFIG)
    with pytest.raises(PlanError, match="made for the task encode, this is the task decode"):
        vae.decode(random_latents(CONFIG, 8, 12), plan=ENCODE)
    with pytest.raises(PlanError, match="made for the task decode, this is the task encode"):
        vae.encode(random_images(CONFIG, 8, 12), plan=PLAN)
    with pytest.raises(PlanError, match="a width in pixels of 96, this encode has 88"):
        vae.encode(random_images(CONFIG, 8, 11), plan=ENCODE)
    with pytest.raises(PlanError, match="its map has fewer"):
        costed(replace(ENCODE, case=replace(ENCODE.case, task="decode")), CPU)


def test_a_plan_and_a_budget_or_a_quality_contradict_each_other() -> None:
    vae, latents = random_vae(SMALL), random_latents(SMALL, 12, 16)
    contradictions: list[dict[str, Any]] = [{"quality": "stream"}, {"quality": Tiles()}, {"budget": "1GB"}]
    for asked in contradictions:
        with pytest.raises(PlanError, match=r"a plan has its own .*\n.*Leave one of them out"):
            vae.decode(latents, plan=TILES, **asked)


@pytest.mark.parametrize("wrong", [TILES.to_json(), json.loads(TILES.to_json()), TILES.pixels, 5], ids=type)
def test_what_is_no_plan_is_refused(wrong: Any) -> None:
    with pytest.raises(PlanError, match=r"plan must be a Plan, it is .*\n.*zvae_tiled\.read_plan"):
        random_vae(SMALL).decode(random_latents(SMALL, 12, 16), plan=wrong)


@pytest.mark.parametrize("task", ["decode", "stream", "encode"])
@pytest.mark.parametrize("batch", [1, 3])
def test_costed_again_where_it_was_made_a_plan_is_the_same(task: PlannedTask, batch: int) -> None:
    for budget in ("1TB", "13MB"):
        first = plan(CONFIG, 96, 64, budget, batch=batch, dtype="float32", device="cpu/mlx", task=task)
        assert costed(first, CPU) == first


@pytest.mark.parametrize("moments", ["global", "proxy", "tile"])
def test_so_are_tiles(moments: Any) -> None:
    tiles = Tiles(128, moments=moments)
    first = plan(CONFIG, 256, 192, "28MB", dtype="float32", device="cpu/mlx", quality=tiles)
    assert first.grid.count > 1
    assert costed(first, CPU) == first


@pytest.mark.slow
@pytest.mark.parametrize(
    "quality", [*QUALITIES[::2], *(pytest.param(each, marks=pytest.mark.slow) for each in QUALITIES[1::2])], ids=str
)
def test_a_replayed_plan_gives_the_same_bits(quality: str | Quality) -> None:
    vae, latents = random_vae(SMALL), random_latents(SMALL, 12, 16)
    want, report = vae.decode(latents, output_type="np", return_report=True, budget="1GB", quality=quality)
    assert report.plan == vae.plan(24, 32, "1GB", quality=quality)
    for replay in (report.plan, made(quality)):  # the second was made without a VAE, and does not count its encoder
        got, again = vae.decode(latents, plan=read_plan(replay.to_json()), output_type="np", return_report=True)
        assert np.array_equal(got, want)
        assert (again.quality, again.exact, again.statistics) == (report.quality, report.exact, report.statistics)
        assert again.measured_peak <= again.predicted_peak - PROCESS < again.predicted_peak <= again.budget
        assert again.plan == report.plan
        assert again.plan.weights == vae.weight_bytes


@pytest.mark.slow
def test_a_replayed_plan_streams() -> None:
    vae, latents = random_vae(SMALL), random_latents(SMALL, 12, 16)
    rows = [np.asarray(row) for row in vae.stream(latents, plan=TILES)]
    assert np.array_equal(np.concatenate(rows, axis=1), vae.decode(latents, plan=TILES, output_type="np"))


@pytest.mark.parametrize("quality", ["exact", QUALITIES[2]], ids=str)
def test_a_replayed_plan_counts_what_a_file_gathers(tmp_path: Path, quality: str | Quality) -> None:
    vae, latents = random_vae(SMALL), random_latents(SMALL, 12, 16)
    streamed = made(quality, task="stream")
    report = vae.decode_to_file(latents, tmp_path / "a.webp", plan=streamed)
    more = report.plan.gathered + report.plan.weights - streamed.weights
    assert report.plan.gathered > 0
    assert report.measured_peak <= report.predicted_peak - PROCESS <= streamed.predicted_peak - PROCESS + more
    assert report.predicted_peak > streamed.predicted_peak
    if quality != "exact":  # an exact decode gathers rows in the last sweep only
        assert report.predicted_peak == streamed.predicted_peak + more


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"grid": Grid(12, 16, (9, 10), (4, 4), (4, 4))}, "tiles do not match its quality"),
        ({"grid": replace(TILES.grid, overlap=(0, 0))}, "tiles do not match its quality"),
        ({"grid": replace(TILES.grid, context=(0, 0))}, "tiles do not match its quality"),
        ({"grid": replace(TILES.grid, height=11)}, "tiles do not match its quality"),
        ({"quality": Tiles(20, (8, 10), "cosine")}, "tiles do not match its quality"),
        ({"quality": Tiles(24, 8, "cosine")}, "tiles do not match its quality"),
        ({"quality": Tiles(20, 8, "cosine", "tile")}, "tiles do not match its quality"),
        ({"quality": Exact()}, "has the stages pixels, this one has others"),
        ({"stages": TILES.stages[1:]}, r"this one has others|cannot be kept"),
        ({"stages": (TILES.pixels, *TILES.stages[:-1])}, "cannot be kept"),
        ({"stages": (replace(TILES.stages[0], keeps=None), *TILES.stages[1:])}, "cannot be kept in None"),
        ({"budget": TILES.predicted_peak}, r"needs \d+ MB here"),  # the encoder's weights
    ],
)
def test_parts_that_do_not_belong_together_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        random_vae(SMALL).decode(random_latents(SMALL, 12, 16), plan=replace(TILES, **change))


def test_a_plan_of_another_quality_names_the_smallest_budget() -> None:
    with pytest.raises(BudgetError) as refused:
        made(QUALITIES[2], "1KB")
    assert made(QUALITIES[2], f"{refused.value.needed}B").predicted_peak <= refused.value.needed


def test_a_plan_that_hungrier_kernels_would_break_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    vae, latents = random_vae(CONFIG), random_latents(CONFIG, 8, 12)
    tight = vae.plan(64, 96, "1GB")
    tight = replace(tight, budget=tight.predicted_peak)
    vae.decode(latents, plan=tight)
    hungry = replace(this_device(mx.float32), workspace=MarginWorkspace(this_device(mx.float32).workspace, 2.0))
    monkeypatch.setattr("zvae_tiled.jobs.job.this_device", lambda dtype: hungry)
    with pytest.raises(PlanError, match=r"needs \d+ MB here, .*\n.*ZVAE_KERNELS"):
        vae.decode(latents, plan=tight)


def test_bands_that_need_a_larger_buffer_than_the_device_makes_are_refused() -> None:
    metal = plan(SMALL, 2048, 2048, "1GB", dtype="float32", device="metal", task="stream")
    tallest = max(sweep.rows for sweep in metal.sweeps)
    with pytest.raises(PlanError, match=rf"bands of {tallest} rows need a larger buffer than this device makes, 1\.05"):
        replayed(metal, metal.case, replace(METAL, max_buffer=1 << 20), metal.weights)
    assert replayed(metal, metal.case, METAL, metal.weights).predicted_peak == metal.predicted_peak
    large = replace(METAL, max_buffer=1 << 34)
    taller = with_sweeps(metal, (replace(sweep, rows=metal.case.height) for sweep in metal.sweeps))
    assert read_plan(taller.to_json()), "it is read where it could not run"
    assert replayed(replace(taller, budget=1 << 40), metal.case, large, metal.weights)


def test_keys_are_counted_until_the_attention_is_passed() -> None:
    """A plan may store a map before the attention once more: then later sweeps read the keys, too."""
    made_plan = made("exact")
    chain, keys = made_plan.case.chain, [sweep.ends for sweep in made_plan.sweeps].index("keys")
    assert chain.attention is not None
    assert chain.attention > 2

    def passed(index: int, sweep: Sweep, medium: Medium) -> Sweep:
        again = Sweep(2 if index > keys + 1 else 0, sweep.stop, sweep.ends, 1)
        if index == keys:
            return replace(again, medium=medium)
        return replace(again, store=2, medium="ram") if index == keys + 1 else again

    def last(medium: Medium) -> Sweep:
        sweeps = (passed(index, sweep, medium) for index, sweep in enumerate(made_plan.sweeps))
        return costed(with_sweeps(made_plan, sweeps), CPU).sweeps[-1]

    kept, spilled = last("ram"), last("disk")
    size = 2 * made_plan.case.height * made_plan.case.width * chain.steps[chain.attention].inputs * 4
    assert kept.peak - spilled.peak == spilled.disk - kept.disk == size
