"""The tile grid: every row covered, no slivers, overlaps as asked; requests that make no sense are refused."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvae_tiled import VAEConfig
from zvae_tiled.budget import Available, Budget, parse_budget
from zvae_tiled.errors import BudgetError, PlanError
from zvae_tiled.plan import quality
from zvae_tiled.plan.device import CPU, DEVICES, Device
from zvae_tiled.plan.grid import Span, spans
from zvae_tiled.plan.make import make_stage
from zvae_tiled.plan.plan import Plan, Stage
from zvae_tiled.plan.quality import QualityPlan, Request, plan_quality, request_of

FLUX = VAEConfig.preset("flux1")
PLENTY = parse_budget("4TB", Available(0))


def planned(
    height: int, width: int, budget: Budget = PLENTY, config: VAEConfig = FLUX, device: Device = CPU, **asked: Any
) -> QualityPlan:
    request = request_of(**{"quality": "tiles", "tile": None, "overlap": None, "ramp": None, "moments": None, **asked})
    assert request is not None
    return plan_quality(config, height, width, budget, device, "bfloat16", 1, "rows", None, request)


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    tile = draw(st.integers(1, 300))
    overlap = draw(st.integers(0, tile - 1))
    return draw(st.integers(1, 5000)), tile, overlap, draw(st.integers(0, 20))


@given(axes())
def test_a_grid_covers_every_row_without_slivers(axis: tuple[int, int, int, int]) -> None:
    size, tile, overlap, context = axis
    found = spans(size, tile, overlap, context)
    sizes = [span.stop - span.start for span in found]
    assert found[0].start == 0
    assert found[-1].stop == size
    assert all(a.stop - b.start == overlap for a, b in pairwise(found))
    assert max(sizes) <= tile or len(found) == 1
    assert max(sizes) - min(sizes) <= 1
    assert all(a.start < b.start and a.stop < b.stop for a, b in pairwise(found))
    for span in found:
        assert (span.low, span.high) == (max(0, span.start - context), min(size, span.stop + context))
    # As few tiles as there can be.
    assert len(found) == 1 or overlap + (len(found) - 1) * (tile - overlap) < size


@given(st.integers(1, 300), st.integers(0, 20))
def test_what_is_no_larger_than_a_tile_is_one_tile(size: int, more: int) -> None:
    assert spans(size, size + more, min(3, size - 1), 2) == (Span(0, size, 0, size),)


@pytest.mark.parametrize("shape", [(1, 4096), (4096, 1), (3, 700), (1, 1)])
@pytest.mark.parametrize("moments", ["global", "proxy", "tile"])
def test_extreme_aspect_ratios_are_planned(shape: tuple[int, int], moments: str) -> None:
    plan = planned(*shape, tile=512, moments=moments)
    cover = np.zeros(shape, int)
    for row in plan.rows:
        for column in plan.columns:
            cover[row.start : row.stop, column.start : column.stop] += 1
    assert cover.min() == 1
    assert planned(*shape, moments=moments).predicted_peak > 0


def test_the_largest_tile_that_fits_is_chosen() -> None:
    # Of a picture this wide a band is much more than a tile's; of a square one it seldom is.
    with pytest.raises(BudgetError) as refused:
        planned(16, 4096, Budget(1, "test"), moments="tile")
    sizes = []
    for factor in (1, 1.02, 1.05, 1.2, 4):
        plan = planned(16, 4096, Budget(int(refused.value.needed * factor), "test"), moments="tile")
        assert plan.predicted_peak <= plan.budget
        sizes.append(plan.pixels.width)
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[1] < sizes[-1] == 4096


PEERS: dict[str, dict[str, Any]] = {
    "diffusers": {"tile": 1024, "overlap": 256, "ramp": "linear"},
    "ComfyUI, ollama": {"tile": 512, "overlap": 128, "ramp": "linear"},
    "mflux": {"tile": 512, "overlap": 64, "ramp": "cosine"},
    "stable-diffusion.cpp": {"tile": 256, "overlap": 128, "ramp": "smootherstep"},
}
"""Their defaults, as docs/quality.md has them; all compute moments tile by tile."""


@pytest.mark.parametrize("peer", PEERS)
def test_what_peers_do_can_be_asked_for(peer: str) -> None:
    asked = PEERS[peer]
    plan = planned(256, 200, moments="tile", **asked)
    assert not plan.exact
    for tiles in (plan.rows, plan.columns):
        assert max(span.stop - span.start for span in tiles) * 8 <= asked["tile"]
        assert all((a.stop - b.start) * 8 == asked["overlap"] for a, b in pairwise(tiles))
        assert all((span.low, span.high) == (span.start, span.stop) for span in tiles)  # no context


def test_what_does_not_fit_names_the_smallest_budget_that_works() -> None:
    for asked in ({}, {"moments": "proxy"}, {"moments": "tile"}, {"tile": 256}):
        with pytest.raises(BudgetError) as refused:
            planned(48, 64, Budget(1, "test"), **asked)
        needed = refused.value.needed
        assert planned(48, 64, Budget(needed, "test"), **asked).predicted_peak <= needed
        with pytest.raises(BudgetError):
            planned(48, 64, Budget(needed - 1, "test"), **asked)


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ({"tile": 500}, "504"),
        ({"tile": 3}, "8"),
        ({"tile": -8}, "8"),
        ({"tile": (512, 100)}, "104"),
        ({"tile": 512, "overlap": 50}, "48"),
        ({"tile": 512, "overlap": (0, 130)}, "128"),
        ({"overlap": -1}, "0"),
    ],
)
def test_sizes_off_the_scale_are_refused_with_the_nearest(asked: dict[str, Any], nearest: str) -> None:
    with pytest.raises(PlanError, match=rf"nearest is {nearest}\."):
        planned(128, 128, **asked)


@pytest.mark.parametrize(
    "asked",
    [
        {"tile": 512, "overlap": 512},
        {"tile": 96},  # less than the reach, which is the default overlap
        {"tile": True},
        {"tile": 64.0},
        {"tile": (64, 64, 64)},
        {"tile": "64"},
        {"ramp": "square"},
        {"ramp": ""},
        {"moments": "batch"},
        {"quality": "fast"},
        {"quality": "stream", "tile": 512},
        {"quality": "stream", "moments": "global"},
        {"quality": "exact", "overlap": 8},
    ],
)
def test_requests_without_a_meaning_are_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        planned(128, 128, **asked)


def test_exact_is_what_nobody_named() -> None:
    assert request_of("exact", None, None, None, None) is None
    assert request_of("tiles", None, None, None, None) == Request("tiles")


def test_tiles_nobody_named_that_are_too_small_for_the_overlap_are_passed_over() -> None:
    deep = dataclasses.replace(FLUX, layers_per_block=6)  # a reach beyond the smallest tiles
    with pytest.raises(BudgetError):
        planned(48, 48, parse_budget("20MB", Available(0)), config=deep)


def test_a_plan_knows_when_it_is_exact() -> None:
    assert planned(128, 128).exact
    assert planned(128, 128, tile=256).exact
    assert planned(128, 128, tile=256, overlap=104).exact
    assert not planned(128, 128, tile=256, overlap=96).exact
    assert not planned(128, 128, tile=256, overlap=(104, 96)).exact
    assert planned(128, 128, tile=(2048, 256), overlap=(0, 104)).exact
    assert not planned(128, 128, moments="proxy").exact
    assert not planned(128, 128, tile=256, moments="tile", overlap=104).exact
    assert planned(128, 128, moments="tile").exact
    assert not planned(128, 128, quality="stream").exact


def test_plans_print_what_they_are() -> None:
    assert "expected error: rounding" in str(planned(128, 128, tile=256))
    for asked in ({"quality": "stream"}, {"tile": 256, "overlap": 32}, {"tile": 256, "moments": "tile"}):
        plan = planned(128, 128, **asked)
        assert plan.expected_error != "rounding"
        assert plan.expected_error in str(plan)
        assert plan.statistics_source in str(plan)
    assert planned(128, 128).digest != planned(128, 128, tile=256).digest


@pytest.mark.parametrize("size", [(64, 96), (512, 512), (1024, 1024), (16, 2048)])
@pytest.mark.parametrize("device", DEVICES)
def test_the_middle_block_of_the_whole_map_is_never_what_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], device: str
) -> None:
    """So a middle block of each tile would let nothing fit that does not (docs/quality.md)."""
    middle: list[int] = []
    pixels: list[int] = []

    def watched(*args: Any) -> Plan:
        stage: Stage = args[6]
        try:
            return make_stage(*args)
        except BudgetError as error:
            (middle if stage.keeps else pixels if stage.stop is None else []).append(error.needed)
            raise

    monkeypatch.setattr(quality, "make_stage", watched)
    with pytest.raises(BudgetError):
        planned(*size, Budget(1, "test"), device=DEVICES[device], tile=128, overlap=0)
    assert 0 < min(middle) < min(pixels)
