"""`Plan` as a value: equal, hashable by its digest, saved and read back; and what is no plan is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.plan.tampering import changed, odd, paths
from tests.plans import TASKS, random_config, random_plan
from tests.samples import examples
from zvae_tiled import Plan, VAEConfig, plan
from zvae_tiled.errors import BudgetError, ConfigError, InputError, PlanError
from zvae_tiled.plan.plan import ITEMSIZES

Z_IMAGE = plan("z-image", 1024, 768, "400MB", device="cpu")

seeds = st.integers(0, 1 << 32)


def some_plan(seed: int) -> Plan:
    rng = Random(seed)
    height, width = rng.randint(1, 99), rng.randint(1, 99)
    dtype, batch, task = rng.choice(sorted(ITEMSIZES)), rng.randint(1, 3), rng.choice(TASKS)
    return random_plan(random_config(rng), height, width, dtype, rng, batch, task=task)


@given(seeds)
def test_a_plan_is_read_back_as_it_was(seed: int) -> None:
    made = some_plan(seed)
    text = made.to_json()
    back = Plan.from_json(text)
    assert back == made
    assert (back.digest, back.to_json(), str(back)) == (made.digest, text, str(made))


def test_making_it_again_gives_the_same_plan() -> None:
    again = plan("z-image", 1024, 768, "400MB", device="cpu")
    assert again == Z_IMAGE
    assert again is not Z_IMAGE
    assert again.digest == Z_IMAGE.digest
    assert len(Z_IMAGE.digest) == 12
    assert Plan.from_json(Z_IMAGE.to_json()) == Z_IMAGE


def test_the_digest_is_the_same_in_another_process() -> None:
    code = "import sys, zvae_tiled; print(zvae_tiled.Plan.from_json(sys.stdin.read()).digest)"
    child = subprocess.run([sys.executable, "-c", code], input=Z_IMAGE.to_json(), capture_output=True, text=True)
    assert child.stdout.split() == [Z_IMAGE.digest], child.stderr


def test_other_plans_have_other_digests() -> None:
    others = [
        plan("z-image", 1024, 768, "401MB", device="cpu"),
        plan("z-image", 768, 1024, "400MB", device="cpu"),
        plan("sd3", 1024, 768, "400MB", device="cpu"),
        plan("z-image", 1024, 768, "400MB", device="cpu", output="rows"),
        plan("z-image", 1024, 768, "400MB", device="cpu", task="encode"),
        replace(Z_IMAGE, sweeps=(*Z_IMAGE.sweeps[:-1], replace(Z_IMAGE.sweeps[-1], rows=1))),
    ]
    assert all(other != Z_IMAGE for other in others)
    assert len({made.digest for made in [Z_IMAGE, *others]}) == 7


SMALL = some_plan(5)
PLACES = paths(json.loads(SMALL.to_json()))


@given(st.sampled_from(PLACES), odd, st.sampled_from(["replace", "replace", "remove", "add"]))
@examples(150)
def test_a_plan_that_was_tampered_with_is_refused_or_still_a_plan(path: tuple[Any, ...], new: Any, how: str) -> None:
    values = changed(json.loads(SMALL.to_json()), path, new, how)
    try:
        made = Plan.from_json(json.dumps(values))
    except PlanError as error:
        assert "[plan]" in str(error)
        return
    made.check()
    assert Plan.from_json(made.to_json()).digest == made.digest
    assert str(made)
    assert made.predicted_flops >= 0
    assert made.predicted_seconds >= 0


@given(st.one_of(st.text(), st.integers(0, len(SMALL.to_json())).map(lambda n: SMALL.to_json()[:n])))
@example("[" * 100_000)
@example("1" * 10_000)
@example("null")
@example('{"format": 1}')
def test_text_that_is_no_plan_is_refused(text: str) -> None:
    if text == SMALL.to_json():
        return
    with pytest.raises(PlanError, match="plan"):
        Plan.from_json(text)


def test_another_format_is_named() -> None:
    values = json.loads(Z_IMAGE.to_json())
    with pytest.raises(PlanError, match="format 99, this version reads format 1"):
        Plan.from_json(json.dumps({**values, "format": 99}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda sweeps: sweeps[1:], "is not the next one needed"),
        (lambda sweeps: sweeps[:-1], "ends before its sweep to"),
        (lambda sweeps: (*sweeps, sweeps[-1]), "is not the next one needed"),
        (lambda sweeps: (replace(sweeps[0], start=1), *sweeps[1:]), "does not start at cut 0"),
        (lambda sweeps: (replace(sweeps[0], rows=0), *sweeps[1:]), "does not start"),
        (lambda sweeps: (replace(sweeps[0], store=sweeps[0].stop + 1), *sweeps[1:]), "does not start"),
        (lambda sweeps: (replace(sweeps[0], medium="tape"), *sweeps[1:]), "cannot be kept in 'tape'"),
        (lambda sweeps: (*sweeps[:-1], replace(sweeps[-1], ends="moments")), "is not the next one needed"),
    ],
)
def test_sweeps_that_do_not_follow_one_another_are_refused(change: Any, reason: str) -> None:
    broken = replace(Z_IMAGE, sweeps=change(Z_IMAGE.sweeps))
    with pytest.raises(PlanError, match=reason):
        broken.check()
    with pytest.raises(PlanError, match=reason):
        Plan.from_json(broken.to_json())


def test_sizes_may_be_any_whole_numbers() -> None:
    sizes: dict[str, Any] = {"height": np.int64(1024), "width": np.uint16(768), "batch": np.int32(1)}
    made = plan("z-image", budget="400MB", device="cpu", **sizes)
    assert made == Z_IMAGE
    assert made.to_json() == Z_IMAGE.to_json()


@pytest.mark.parametrize("name", ["height", "width"])
@pytest.mark.parametrize("pixels", [0, -8, 1, 12, 1023, True, 64.0, "64", None])
def test_sizes_that_cannot_be_decoded_to_are_refused(name: str, pixels: Any) -> None:
    with pytest.raises(PlanError, match=f"{name} must be a multiple of 8"):
        plan("z-image", **{"height": 64, "width": 64, name: pixels})


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"batch": 0}, PlanError, "batch"),
        ({"batch": 1.0}, PlanError, "batch"),
        ({"dtype": "int8"}, PlanError, "dtype"),
        ({"task": "upscale"}, PlanError, 'task must be "decode" or "encode"'),
        ({"device": "tpu"}, PlanError, "device"),
        ({"budget": "much"}, InputError, "budget"),
        ({"vae": "z-imago"}, ConfigError, "preset"),
        ({"vae": "nowhere/config.json"}, ConfigError, "config.json"),
    ],
)
def test_what_cannot_be_planned_is_refused(options: Any, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        plan(**{"vae": "z-image", "height": 64, "width": 64, **options})


def test_a_budget_error_says_what_works_and_what_else_would_help() -> None:
    with pytest.raises(BudgetError) as error:
        plan("z-image", 4096, 4096, "100MB", device="cpu")
    needed = error.value.needed
    assert plan("z-image", 4096, 4096, f"{needed}B", device="cpu").predicted_peak <= needed
    assert f"at least {needed / 2**20:,.0f} MiB" in str(error.value)
    assert f'"{-(-needed // 2**20)}MiB"' in error.value.advice
    assert "named as '100MB'" in str(error.value)
    assert "vae.stream" in error.value.advice
    streamed = re.search(r"(\d+) MiB\.$", error.value.advice)
    assert streamed is not None
    assert int(streamed[1]) << 20 < needed
    plan("z-image", 4096, 4096, f"{streamed[1]}MiB", device="cpu", output="rows")
    # Where the picture is not what takes the memory, streaming is no advice.
    with pytest.raises(BudgetError) as small:
        plan("z-image", 64, 64, "100MB", device="cpu")
    assert "vae.stream" not in small.value.advice


def test_a_budget_error_for_an_encode_says_what_works() -> None:
    with pytest.raises(BudgetError) as error:
        plan("z-image", 4096, 4096, "100MB", device="cpu", task="encode")
    needed = error.value.needed
    assert plan("z-image", 4096, 4096, f"{needed}B", device="cpu", task="encode").predicted_peak <= needed
    assert "vae.stream" not in error.value.advice


def test_a_config_and_its_name_give_the_same_plan() -> None:
    named, given_ = (plan(vae, 256, 256, "1GB", device="cpu") for vae in ("sdxl", VAEConfig.preset("sdxl")))
    assert named == given_
