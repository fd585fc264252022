"""Metrics find a planted seam and a planted shift of colours, and nothing in pictures without them."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.errors import InputError
from zvae_tiled.families import config_of
from zvae_tiled.planner.budget import Available, parse_budget
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.quality import Exact, Tiles
from zvae_tiled.report import metrics
from zvae_tiled.report.metrics import GRID, colour_shift, heat_map, max_error, psnr, seam_score

CASE = Case(config_of("flux1"), 16, 24, CPU.name, "float32", output="rows")
BUDGET = parse_budget("1TB", Available(0))
PLAN = make_plan(CASE, Tiles(64, 0, moments="tile"), BUDGET, CPU)
EXACT = make_plan(CASE, Exact(), BUDGET, CPU)


def smooth_picture(seed: int = 0) -> np.ndarray:
    """Slopes, and a little noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:128, :192, :1][:2] / 192
    picture: np.ndarray = 0.5 + 0.3 * np.sin(3 * rows + 5 * columns) + rng.normal(0, 0.01, (128, 192, 3))
    return picture


def test_the_plan_has_the_seams_the_tests_mean() -> None:
    assert PLAN.seams == ((64,), (64, 128))


def test_a_planted_seam_is_found() -> None:
    picture = smooth_picture()
    assert seam_score(picture, PLAN) < 1.1
    scores = []
    for shift in (0.02, 0.05, 0.1):
        planted = picture.copy()
        planted[:, 128:] += shift
        scores.append(seam_score(planted, PLAN))
    assert 1.3 < scores[0] < scores[1] < scores[2]
    across = picture.copy()
    across[64:] += 0.1
    assert seam_score(across[None], PLAN) > 4


def test_an_edge_elsewhere_is_no_seam() -> None:
    picture = smooth_picture()
    picture[:, 96:] += 0.3
    assert seam_score(picture, PLAN) < 1.1


def test_an_exact_plan_has_no_seams() -> None:
    picture = smooth_picture()
    picture[:, 128:] += 1
    assert seam_score(picture, EXACT) == 1.0
    assert not heat_map(picture, picture, EXACT).any()


def test_a_flat_picture_has_no_seam_and_a_lone_step_is_endless() -> None:
    flat = np.zeros((128, 192, 3))
    assert seam_score(flat, PLAN) == 1.0
    flat[64:] = 1
    assert seam_score(flat, PLAN) == float("inf")


def test_a_planted_shift_is_found() -> None:
    reference = smooth_picture()
    planted = reference.copy()
    planted[64:, 64:128, 1] += 0.07
    found = colour_shift(planted, reference, PLAN)
    assert found.mean == pytest.approx(0.07)
    assert found.spread == pytest.approx(1)
    tile = planted[:64, 128:, 2]
    tile[:] = tile.mean() + (tile - tile.mean()) / 1.5
    assert colour_shift(planted, reference, PLAN).spread == pytest.approx(1.5, rel=1e-3)
    whole = colour_shift(planted, reference, EXACT)
    assert 0 < whole.mean < 0.07


def test_equal_pictures_have_no_error() -> None:
    picture = smooth_picture()
    assert max_error(picture, picture) == 0
    assert psnr(picture, picture) == float("inf")
    found = colour_shift(picture, picture, PLAN)
    assert (found.mean, found.spread) == (0, 1)


def test_psnr_is_the_textbooks() -> None:
    picture = smooth_picture()
    assert psnr(picture + 0.1, picture) == pytest.approx(20)
    assert psnr(picture + 0.1, picture, peak=2) == pytest.approx(20 + 20 * np.log10(2))
    assert max_error(picture - 0.1, picture) == pytest.approx(0.1)


def test_a_heat_map_shows_the_difference_and_the_grid() -> None:
    reference = smooth_picture()
    planted = reference.copy()
    planted[20:30, 20:30, 0] += 0.2
    planted[90:100, 150:160, 1] -= 0.1
    seen = heat_map(planted, reference, PLAN)
    assert seen.shape == (128, 192, 3)
    assert seen.dtype == np.uint8
    assert (seen[25, 25] == 255).all()
    assert (seen[95, 155] == (255, 128, 0)).all() or (seen[95, 155] == (255, 127, 0)).all()
    assert not seen[5, 5].any()
    assert (seen[64] == GRID).all()
    assert (seen[:, [64, 128]] == GRID).all()
    assert (seen[..., 1:] == GRID[1:]).all(axis=-1).sum() == 192 + 2 * 127 + 100
    dimmer = heat_map(planted, reference, PLAN, peak=0.6)
    assert (dimmer[25, 25] == (255, 0, 0)).all()


def test_pictures_that_do_not_belong_together_are_refused() -> None:
    picture = smooth_picture()
    for wrong in (picture[:64], picture[0], picture[:0]):
        with pytest.raises(InputError):
            seam_score(wrong, PLAN)
        with pytest.raises(InputError):
            max_error(picture, wrong)
        with pytest.raises(InputError):
            colour_shift(wrong, picture, PLAN)
        with pytest.raises(InputError):
            heat_map(picture, wrong, PLAN)
    for value in (np.nan, np.inf):
        broken = picture.copy()
        broken[3, 4, 1] = value
        for measure in (max_error, psnr, colour_shift, heat_map):
            with pytest.raises(InputError, match="NaN or infinity"):
                measure(broken, picture)
            with pytest.raises(InputError, match="NaN or infinity"), np.errstate(invalid="ignore"):
                measure(broken, broken)


@pytest.mark.parametrize("block", [1, 1000, 1 << 30])
def test_rows_are_measured_a_few_at_a_time_as_all_at_once(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BLOCK", block)
    ours, theirs = (np.stack([smooth_picture(seed), smooth_picture(seed + 1)])[:, :, 7:] for seed in (0, 2))
    difference = ours - theirs
    assert max_error(ours, theirs) == np.abs(difference).max()
    assert psnr(ours, theirs) == pytest.approx(-10 * np.log10(np.square(difference).mean()))
    found, both = colour_shift(ours, theirs), [each.std(axis=(0, 1, 2)) + 1e-6 for each in (ours, theirs)]
    assert found.mean == pytest.approx(np.abs(difference.mean(axis=(0, 1, 2))).max())
    assert found.spread == pytest.approx(np.maximum(both[0] / both[1], both[1] / both[0]).max())
    for axis, seams in ((1, ([64], [])), (2, ([], [64]))):
        steps = np.abs(np.diff(ours, axis=axis)).mean(axis=(0, 3 - axis, 3))
        want = steps[63] / np.r_[steps[55:63], steps[64:72]].mean()
        assert metrics.steepest_seam(ours, *seams) == pytest.approx(max(1.0, want))
    heat = np.abs(difference).max(axis=(0, 3))
    shades = np.clip(3 * (heat / heat.max())[:, :, None] - np.arange(3), 0, 1)
    assert np.array_equal(heat_map(ours, theirs), np.round(255 * shades).astype(np.uint8))


@pytest.mark.parametrize("measure", [max_error, psnr, colour_shift, heat_map, lambda a, _: seam_score(a, PLAN)])
def test_the_memory_of_a_measure_does_not_grow_with_the_picture(
    measure: Callable[[np.ndarray, np.ndarray], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "BLOCK", 1 << 10)
    ours, theirs = (np.stack([smooth_picture(seed)] * 10).astype(np.float32) for seed in (0, 1))
    tracemalloc.start()
    measure(ours, theirs)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < ours.size / 4


def test_the_metrics_are_a_module_that_needs_no_device() -> None:
    for name in metrics.__all__:
        assert getattr(metrics, name).__doc__
    none = "not any(name.startswith('mlx') for name in sys.modules)"
    code = f"import sys; from zvae_tiled.report import metrics; print({none})"
    child = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert child.stdout.split() == ["True"], child.stderr


@pytest.mark.parametrize("seams", [([9], []), ([8], []), ([0], []), ([-1], []), ([], [6]), ([4, 9], [3])])
def test_a_seam_outside_the_picture_is_refused(seams: tuple[list[int], list[int]]) -> None:
    with pytest.raises(InputError, match="a seam must lie between two pixels") as error:
        metrics.steepest_seam(np.zeros((8, 6, 3)), *seams)
    assert error.value.advice


def test_pictures_that_do_not_match_are_refused_with_advice() -> None:
    for call in (lambda: psnr(np.zeros((2, 2, 3)), np.zeros((2, 3, 3))), lambda: seam_score(np.zeros((2, 2)), PLAN)):
        with pytest.raises(InputError) as error:
            call()
        assert error.value.advice


def test_all_that_is_documented_is_public() -> None:
    assert set(metrics.__all__) == {
        name
        for name, each in vars(metrics).items()
        if getattr(each, "__module__", "") == metrics.__name__ and not name.startswith("_")
    }
