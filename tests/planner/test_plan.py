"""`Plan` as a value: equal plans have equal digests. What cannot be planned is refused with a hint that works."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.plans import with_sweeps
from zvae_tiled import Plan, plan, read_plan
from zvae_tiled.checks import shown
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.devices.table import likely_device
from zvae_tiled.errors import BudgetError, ConfigError, InputError, PlanError, WeightsError
from zvae_tiled.families import config_of
from zvae_tiled.planner.quality import Tiles
from zvae_tiled.planner.replay import costed
from zvae_tiled.planner.stage import Sweep
from zvae_tiled.wording import size

Z_IMAGE = plan("z-image", 1024, 768, "400MB", device="cpu/mlx")

Sweeps = tuple[Sweep, ...]


def test_making_it_again_gives_the_same_plan() -> None:
    again = plan("z-image", 1024, 768, "400MB", device="cpu/mlx")
    assert again == Z_IMAGE
    assert again is not Z_IMAGE
    assert again.digest == Z_IMAGE.digest
    assert len(Z_IMAGE.digest) == 12
    assert read_plan(Z_IMAGE.to_json()) == Z_IMAGE


def test_other_plans_are_not_equal() -> None:
    others = [
        plan("z-image", 1024, 768, "401MB", device="cpu/mlx"),
        plan("z-image", 768, 1024, "400MB", device="cpu/mlx"),
        plan("sd3", 1024, 768, "400MB", device="cpu/mlx"),
        plan("z-image", 1024, 768, "400MB", device="cpu/mlx", task="stream"),
        plan("z-image", 1024, 768, "400MB", device="cpu/mlx", task="encode"),
        plan("z-image", 1024, 768, "400MB", device="cpu/mlx", quality="tiles"),
        with_sweeps(Z_IMAGE, (*Z_IMAGE.sweeps[:-1], replace(Z_IMAGE.sweeps[-1], rows=1))),
    ]
    assert all(other != Z_IMAGE for other in others)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda sweeps: sweeps[1:], "is not the next one needed"),
        (lambda sweeps: sweeps[:-1], "ends before its sweep to"),
        (lambda sweeps: (), "ends before its sweep to"),
        (lambda sweeps: (*sweeps, sweeps[-1]), "is not the next one needed"),
        (lambda sweeps: (replace(sweeps[0], start=1), *sweeps[1:]), "does not start at cut 0"),
        (lambda sweeps: (replace(sweeps[0], stop=float(sweeps[0].stop)), *sweeps[1:]), "is not the next one needed"),
        (lambda sweeps: (replace(sweeps[0], rows=0), *sweeps[1:]), "reads 0 rows at once"),
        (lambda sweeps: (replace(sweeps[0], rows=129), *sweeps[1:]), "reads 129 rows at once, its map has fewer"),
        (lambda sweeps: (replace(sweeps[0], rows=2.0), *sweeps[1:]), "reads 2.0 rows at once"),
        (lambda sweeps: (replace(sweeps[0], store=sweeps[0].stop + 1), *sweeps[1:]), "cannot store a map at cut"),
        (lambda sweeps: (replace(sweeps[0], store=0, medium="ram"), *sweeps[1:]), "cannot store a map at cut 0"),
        (lambda sweeps: (replace(sweeps[0], medium="tape"), *sweeps[1:]), "cannot be kept in 'tape'"),
        (lambda sweeps: (*sweeps[:-1], replace(sweeps[-1], ends="moments")), "is not the next one needed"),
        (lambda sweeps: (*sweeps[:-1], replace(sweeps[-1], store=sweeps[-1].stop, medium="ram")), "cannot store"),
    ],
)
def test_sweeps_that_do_not_follow_one_another_are_refused(change: Callable[[Sweeps], Sweeps], reason: str) -> None:
    broken = with_sweeps(Z_IMAGE, change(Z_IMAGE.sweeps))
    with pytest.raises(PlanError, match=reason):
        costed(broken, CPU)
    with pytest.raises(PlanError, match=reason):
        read_plan(broken.to_json())


def test_sizes_may_be_any_whole_numbers() -> None:
    sizes: dict[str, Any] = {"height": np.int64(1024), "width": np.uint16(768), "batch": np.int32(1)}
    made = plan("z-image", budget="400MB", device="cpu/mlx", **sizes)
    assert made == Z_IMAGE
    assert made.to_json() == Z_IMAGE.to_json()
    assert read_plan(made.to_json()) == made


@pytest.mark.parametrize("name", ["height", "width"])
@pytest.mark.parametrize(
    "pixels",
    [0, -8, 1, 12, 1023, True, 64.0, "64", None, 1 << 31, 8 * 10**400, -(8 * 10**5000)],
    ids=shown,
)
def test_sizes_that_cannot_be_decoded_to_are_refused(name: str, pixels: Any) -> None:
    with pytest.raises(PlanError, match=rf"{name} must be a multiple of 8 pixels, 8 to 2,147,483,640") as error:
        plan("z-image", **{"height": 64, "width": 64, name: pixels})
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"batch": 0}, PlanError, "batch"),
        ({"batch": 1.0}, PlanError, "batch"),
        ({"batch": 10**400}, PlanError, "batch"),
        ({"dtype": "int8"}, PlanError, "dtype"),
        ({"task": "upscale"}, PlanError, "task must be one of .*encode"),
        ({"device": "tpu"}, PlanError, "device must be one of .*metal"),
        ({"quality": "fast"}, PlanError, "quality must be one of .*tiles"),
        ({"quality": ["exact"]}, PlanError, "quality"),
        ({"quality": "tiles", "task": "encode"}, PlanError, 'quality="tiles" is for task="decode"'),
        ({"budget": "much"}, InputError, "budget"),
        ({"vae": "z-imago"}, WeightsError, "preset"),
        ({"vae": "nowhere/config.json"}, ConfigError, "config.json"),
    ],
)
def test_what_cannot_be_planned_is_refused(options: Any, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        plan(**{"vae": "z-image", "height": 64, "width": 64, **options})


@pytest.mark.parametrize("name", ["tile", "overlap"])
@pytest.mark.parametrize("pixels", [1 << 31, 8 * 10**400, 8 * 10**4299, -(10**5000)], ids=shown)
def test_numbers_that_no_picture_has_are_refused_for_tiles(name: str, pixels: int) -> None:
    sizes: dict[str, Any] = {"tile": 64, name: pixels}
    with pytest.raises(PlanError, match=f"{name} must be a multiple of 8 pixels") as error:
        plan("z-image", 64, 64, "1GB", quality=Tiles(**sizes))
    assert len(str(error.value)) < 300


def test_a_budget_error_says_what_works_and_what_else_would_help() -> None:
    with pytest.raises(BudgetError) as error:
        plan("z-image", 4096, 4096, "100MB", device="cpu/mlx")
    needed, advice = error.value.needed, error.value.advice
    assert plan("z-image", 4096, 4096, f"{needed}B", device="cpu/mlx").predicted_peak <= needed
    assert f"needs at least {-(-needed // 10**6):,} MB (" in str(error.value)
    assert "the budget is 100 MB (set as '100MB')" in str(error.value)
    named = re.search(r'Raise the budget to "(\d+MB)"', advice)
    streamed = re.search(r"stream the rows \(vae\.stream, or a \.npy file\) with (\d+MB)\.$", advice)
    assert named is not None
    assert streamed is not None
    plan("z-image", 4096, 4096, named[1], device="cpu/mlx")
    plan("z-image", 4096, 4096, streamed[1], device="cpu/mlx", task="stream")
    assert float(streamed[1][:-2]) * 1e6 < needed
    # If the picture takes little of the memory, streaming is not advised.
    with pytest.raises(BudgetError) as small:
        plan("z-image", 64, 64, "100MB", device="cpu/mlx")
    assert "vae.stream" not in small.value.advice


@pytest.mark.parametrize(
    "options", [{"task": "stream"}, {"task": "encode"}, {"quality": "tiles"}, {"quality": "stream"}]
)
@pytest.mark.parametrize("budget", ["256MB", "99MB"])
@pytest.mark.sample(3)
def test_every_budget_error_is_in_decimal_units_and_its_advice_works(options: dict[str, Any], budget: str) -> None:
    with pytest.raises(BudgetError) as error:
        plan("z-image", 8192, 8192, budget, dtype="float32", device="cpu/mlx", **options)
    said = str(error.value)
    assert f"needs at least {-(-error.value.needed // 10**6):,} MB (" in said
    assert f"the budget is {budget[:-2]} MB" in said
    assert "iB" not in said
    named = re.search(r'Raise the budget to "(\d+MB)"', error.value.advice)
    assert named is not None
    made = plan("z-image", 8192, 8192, named[1], dtype="float32", device="cpu/mlx", **options)
    assert made.predicted_peak <= made.budget
    if options.get("task"):  # rows are streamed already, or cannot be
        assert "vae.stream" not in error.value.advice


def test_a_picture_that_is_more_than_one_buffer_holds_is_refused_in_words() -> None:
    with pytest.raises(PlanError, match=r"the finished picture needs 12\.9 GB; one buffer on this device holds at mo"):
        plan("z-image", 32768, 32768, "1TB", device="metal")
    plan("z-image", 32768, 32768, "1TB", device="metal", task="stream")


def test_a_config_and_its_name_give_the_same_plan() -> None:
    named, given_ = (plan(vae, 256, 256, "1GB", device="cpu/mlx") for vae in ("sdxl", config_of("sdxl")))
    assert named == given_


@pytest.mark.skipif(likely_device() != "cpu", reason="MLX has a GPU here")
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float16"])
def test_cpu_means_the_kernels_that_compute_here(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(device: str | None) -> Plan:
        return plan("z-image", 1024, 1024, "400MB", dtype=dtype, device=device)

    assert made("cpu") == made(None)
    alone = made("cpu/mlx")
    assert alone.case.device == "cpu/mlx"
    monkeypatch.setenv("ZVAE_KERNELS", "mlx")
    assert made("cpu") == made(None) == alone


def test_a_plan_is_printed_with_decimal_sizes() -> None:
    told = str(Z_IMAGE)
    assert "1 x 768x1024, bfloat16 on cpu/mlx" in told
    assert f"{size(Z_IMAGE.predicted_peak)} of the budget of 400 MB" in told
    assert "iB" not in told
    assert Z_IMAGE.digest in told
