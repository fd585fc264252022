"""The tile grid: every row covered, no slivers, overlaps as requested; contradictory requests are refused."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvae_tiled import VAEConfig
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.devices.table import DEVICES
from zvae_tiled.errors import BudgetError, PlanError
from zvae_tiled.families.autoencoder_kl import PRESETS
from zvae_tiled.planner.budget import Available, Budget, parse_budget
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.grid import MAX_SPANS, Span, span_count, spans
from zvae_tiled.planner.layout import layouts, resident_bytes
from zvae_tiled.planner.make import filled, make_plan
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Exact, Quality, Stream, Tiles, quality_of
from zvae_tiled.planner.search import leanest

FLUX = PRESETS["flux1"]
PLENTY = parse_budget("4TB", Available(0))


def planned(
    height: int,
    width: int,
    budget: Budget = PLENTY,
    config: VAEConfig = FLUX,
    device: Device = CPU,
    quality: str | Quality | None = None,
    **tiles: Any,
) -> Plan:
    case = Case(config, height, width, device.name, output="rows")
    return make_plan(case, Tiles(**tiles) if quality is None else quality_of(quality), budget, device)


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
@pytest.mark.sample(5)
def test_extreme_aspect_ratios_are_planned(shape: tuple[int, int], moments: str) -> None:
    plan = planned(*shape, tile=512, moments=moments)
    cover, reads = np.zeros(shape, int), []
    for row in plan.grid.rows:
        for column in plan.grid.columns:
            cover[row.start : row.stop, column.start : column.stop] += 1
            reads.append((row.high - row.low) * (column.high - column.low))
    assert cover.min() == 1
    assert (plan.grid.count, plan.grid.area) == (len(reads), sum(reads))
    assert planned(*shape, moments=moments).predicted_peak > 0


def test_the_largest_tile_that_fits_is_chosen() -> None:
    # In a picture this wide a band is much larger than a tile's; in a square one it rarely is.
    with pytest.raises(BudgetError) as refused:
        planned(16, 4096, Budget(1, "test"), moments="tile")
    sizes = []
    for factor in (1, 1.05, 4):
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
    for tiles in (plan.grid.rows, plan.grid.columns):
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
        {"tile": (64,)},
        {"tile": ()},
        {"tile": "64"},
        {"overlap": "0"},
        {"ramp": "square"},
        {"ramp": ""},
        {"ramp": []},
        {"moments": "batch"},
        {"moments": 3},
        {"quality": "fast"},
        {"quality": Tiles},
    ],
)
def test_qualities_without_a_meaning_are_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match=f"{list(asked)[-1]}"):
        planned(128, 128, **asked)


def test_a_name_is_a_quality_with_its_defaults() -> None:
    for name, quality in (("exact", Exact()), ("tiles", Tiles()), ("stream", Stream())):
        assert quality_of(name) == quality_of(quality) == quality
    assert quality_of("tiles") == Tiles(None, None, "smootherstep", "global")
    assert Tiles(np.int64(64), (np.uint8(8), 16)) == Tiles((64, 64), (8, 16))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Stream(tile=512)  # type: ignore[call-arg]


@given(axes())
def test_tiles_are_counted_without_making_them(axis: tuple[int, int, int, int]) -> None:
    size, tile, overlap, context = axis
    assert span_count(size, tile, overlap) == len(spans(size, tile, overlap, context))


def test_more_tiles_than_a_plan_holds_are_refused() -> None:
    planned(8, 4 * MAX_SPANS, tile=32, overlap=0, moments="tile")
    with pytest.raises(
        PlanError, match=f"need 16,385 tiles of .*, the limit is {MAX_SPANS:,} tiles\n.*Name a larger tile"
    ):
        planned(8, 4 * MAX_SPANS + 1, tile=32, overlap=0, moments="tile")
    with pytest.raises(PlanError, match=r"2,097,152 pixels need 262,143 tiles"):
        planned(262_144, 8, tile=16, overlap=8, moments="tile")
    # If no tile is named, sizes that would give too many tiles are skipped.
    with pytest.raises(BudgetError):
        planned(8, 1 << 27, Budget(1, "test"), overlap=0, moments="tile")


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
    assert "expected   rounding" in str(planned(128, 128, tile=256))
    for asked in ({"quality": "stream"}, {"tile": 256, "overlap": 32}, {"tile": 256, "moments": "tile"}):
        plan = planned(128, 128, **asked)
        assert plan.expected_error != "rounding"
        assert plan.expected_error in str(plan)
        assert plan.statistics in str(plan)
    assert planned(128, 128).digest != planned(128, 128, tile=256).digest


@pytest.mark.parametrize(
    "size", [(512, 512), (16, 2048), *(pytest.param(size, marks=pytest.mark.slow) for size in [(64, 96), (1024, 1024)])]
)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.sample(4)
def test_the_middle_block_of_the_whole_map_is_never_what_does_not_fit(size: tuple[int, int], device: str) -> None:
    """So running the middle block tile by tile would save next to nothing (docs/notes/proxy.md)."""
    chosen, tiles = DEVICES[device], Tiles(128, 0)
    case = Case(FLUX, *size, chosen.name, output="rows")
    held = resident_bytes(case, None, 0)
    plans = [filled(case, tiles, 1, layout, held, chosen, leanest) for layout in layouts(case, tiles, held, chosen)]
    peaks = [{stage.name: stage.peak for stage in plan.stages} for plan in plans if plan is not None]
    assert len(peaks) == 2  # the middle map in memory, and on disk
    assert 0 < min(each["middle"] for each in peaks) < 1.05 * min(each["pixels"] for each in peaks)
