"""A plan as text: at most ten lines of 80 columns, and a table of 110. What they say is what the plan predicts."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvae_tiled import Stream, Tiles, VAEConfig
from zvae_tiled.api import plan
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.planner import cheaper, summary
from zvae_tiled.planner.plan import Plan
from zvae_tiled.wording import duration, operations, rounded_up, size

HUGE = "1000000TB"

EXTREMES: list[dict[str, Any]] = [
    {"vae": "flux2", "width": 1024, "height": 2_147_483_632, "budget": HUGE},
    {"vae": "z-image", "width": 1 << 20, "height": 1 << 19, "budget": HUGE, "quality": Stream(), "batch": 1 << 20},
    {"vae": "sdxl", "width": 1 << 16, "height": 1 << 15, "budget": HUGE, "quality": Tiles(64, 0, moments="tile")},
    {"vae": "sdxl", "width": 1 << 15, "height": 1 << 15, "budget": HUGE, "quality": Tiles(16384, 96, moments="proxy")},
    {"vae": "taesd", "width": 8192, "height": 8192, "budget": "1TB", "quality": Tiles(64, 0)},
    {"vae": "qwen-image", "width": 16384, "height": 16384, "budget": "8GB", "task": "encode"},
    {"vae": "pixel-space", "width": 1 << 16, "height": 1 << 16, "budget": HUGE},
]


def made(
    vae: str | VAEConfig = "z-image", width: int = 1024, height: int = 1024, budget: str = "500MB", **options: Any
) -> Plan:
    return plan(vae, height, width, budget, **{"device": "cpu/mlx", "task": "stream", **options})


def line(text: str, name: str) -> str:
    """What stands behind a name."""
    (found,) = [row.removeprefix(name).strip() for row in text.splitlines() if row.startswith(f"{name:<11}")]
    return found


@pytest.mark.parametrize("case", EXTREMES, ids=lambda case: f"{case['vae']} {case['width']}")
def test_any_plan_takes_ten_lines_of_80_columns_and_its_table_110(case: dict[str, Any]) -> None:
    found = made(**case)
    lines = str(found).splitlines()
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 80, str(found)
    table = found.table().splitlines()
    assert max(map(len, table)) <= 110, found.table()
    assert sum(bool(re.match(r" *\d+-\d", row)) for row in table) == len(found.sweeps)


def test_it_says_what_the_plan_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "free_space", lambda _: 5 * 10**9)
    found = made()
    text = str(found)
    assert line(text, "decodes") == "1 x 1024x1024, bfloat16 on cpu/mlx"
    assert line(text, "quality") == "exact: same pixels as a full decode"
    assert line(text, "memory") == f"{size(found.predicted_peak)} of the budget of 500 MB"
    assert line(text, "disk").startswith(f"{size(found.spilled)} needed, 5 GB free in ")
    assert line(text, "time").startswith(f"{duration(found.predicted_seconds)} if idle: convolutions and norms ")
    assert line(text, "plan").startswith(f"{found.digest}: 32 sweeps, {operations(found.predicted_flops)}, ")
    monkeypatch.setattr(summary, "free_space", lambda _: found.spilled - 1)
    assert line(str(found), "disk").endswith(": too little")
    assert line(str(made(budget="100GB")), "disk") == "nothing is spilled"


def test_the_parts_of_the_time_add_up_and_the_attention_of_a_large_map_is_most_of_it() -> None:
    shares = {
        name: int(share)
        for name, share in re.findall(
            r"([a-z ]+) (\d+) %", line(str(made(width=8192, height=8192, budget="2GB")), "time")
        )
    }
    assert abs(sum(shares.values()) - 100) <= 1
    assert shares[" attention"] > 75 > 10 > shares[" disk"] > 0


def test_the_parts_are_counted_in_every_tile() -> None:
    tiled = made(budget="4GB", width=4096, quality=Tiles(512, 64, moments="tile"))
    (pixels,) = tiled.stages
    share = sum(sweep.attending for sweep in pixels.sweeps) / pixels.seconds
    assert tiled.time_of(lambda sweep: sweep.attending) == pytest.approx(share * tiled.predicted_seconds)
    for sweep in made(budget="200MB").sweeps:
        assert 0 <= sweep.attending + sweep.spilling <= sweep.seconds
        assert (sweep.spilling > 0) == (sweep.io > 0)


@pytest.mark.parametrize("budget", ["4GB", "16GB"])
def test_sampled_keys_of_16384_cost_no_more_than_the_convolutions(budget: str) -> None:
    exact, few = (made(width=16384, height=16384, budget=budget, quality=each) for each in ("exact", "sampled"))
    attending, spilling = few.time_of(lambda sweep: sweep.attending), few.time_of(lambda sweep: sweep.spilling)
    assert attending <= few.predicted_seconds - attending - spilling
    assert exact.time_of(lambda sweep: sweep.attending) > 0.9 * exact.predicted_seconds


def test_scores_take_time_beside_their_products() -> None:
    """Of half the channels the products take half the time, and the exponentials of the scores all of theirs."""
    half, whole = (
        AutoencoderKLConfig(latent_channels=4, block_out_channels=(32, 32, width), norm_num_groups=8)
        for width in (32, 64)
    )
    times = [made(config, 16384, 16384, "8GB").time_of(lambda sweep: sweep.attending) for config in (half, whole)]
    assert 0.55 < times[0] / times[1] < 0.65


def test_what_it_calls_cheaper_is_and_can_be_had() -> None:
    tight = made(budget="400MB", device="metal")
    told = re.fullmatch(r"a budget of ([\d.]+) GB: (.+), and nothing is spilled", line(str(tight), "cheaper"))
    assert told is not None
    roomy = made(budget=f"{told[1]}GB", device="metal")
    assert duration(roomy.predicted_seconds) == told[2]
    assert roomy.predicted_seconds < cheaper.SAVES * tight.predicted_seconds
    assert roomy.spilled == 0
    assert line(str(roomy), "cheaper") == "nothing: a larger budget would save little time, or none"


@pytest.mark.parametrize("options", [{}, {"work": True}, {"width": 8192, "height": 8192}], ids=str)
def test_a_plan_can_be_pickled_and_printed_again(options: dict[str, Any]) -> None:
    found = made(**options)
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    text = str(again)
    assert set(text.splitlines()[:3]) <= set(str(found).splitlines())
    assert "cheaper" not in text


def test_a_quality_is_named_where_it_saves_half_the_time_or_more() -> None:
    large = made(width=8192, height=8192, budget="8GB")
    tiled = made(width=8192, height=8192, budget="8GB", quality=Tiles(1024, moments="tile"))
    said = f"quality tiles, tile 1024, moments tile: {duration(tiled.predicted_seconds)}, a PSNR of 33 dB"
    assert said in str(large)
    assert "quality tiles, tile" not in str(tiled)


def test_a_full_disk_names_the_budget_that_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    spilling = made(width=4096, height=4096, budget="3GB")
    assert spilling.spilled
    monkeypatch.setattr(cheaper, "SAVES", 0.0)
    monkeypatch.setattr(cheaper, "free_space", lambda _: spilling.spilled)
    assert line(str(spilling), "cheaper") == "nothing: a larger budget would save little time, or none"
    monkeypatch.setattr(cheaper, "free_space", lambda _: spilling.spilled - 1)
    assert line(str(spilling), "cheaper").endswith("and nothing is spilled")


@given(st.floats(0, 1e18))
def test_a_time_is_short_and_near(seconds: float) -> None:
    text = duration(seconds)
    assert len(text) <= 14
    number, unit = text.split()
    units = {"s": 1, "min": 60, "h": 3600, "days": 86400, "years": 31_557_600}
    assert float(number.replace(",", "")) * units[unit] == pytest.approx(seconds, rel=0.06, abs=0.0006)


@given(st.integers(10**6, 1 << 62))
def test_a_size_rounded_up_is_enough(count: int) -> None:
    number, unit = rounded_up(count).split()
    units = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15, "EB": 1e18}
    assert count <= round(float(number.replace(",", "")) * units[unit]) <= 1.1 * count + 1


def test_times_and_work_as_people_say_them() -> None:
    said = {0: "0 s", 0.35: "0.35 s", 37.4: "37 s", 99: "99 s", 1500: "25 min", 115_791: "32 h", 4e5: "4.6 days"}
    assert {seconds: duration(seconds) for seconds in said} == said
    assert [operations(count) for count in (0, 618e9, 36.6e15, 1e30)] == [
        "0 MFLOP",
        "618 GFLOP",
        "36.6 PFLOP",
        "1e+06 YFLOP",
    ]
