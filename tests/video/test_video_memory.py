"""The dry run of a video stands between plan and decode: predicted >= counted, on CPUs with other kernels too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median

import numpy as np
import pytest

from tests.engine.dry_runs import CPUS, Counting, Nothing
from tests.support.dry import Shape
from tests.support.samples import Seeds
from zvae_tiled.devices.base import Device
from zvae_tiled.engine.video import VideoRun
from zvae_tiled.errors import BudgetError
from zvae_tiled.families.qwen_image import QwenImageConfig
from zvae_tiled.planner.budget import Budget
from zvae_tiled.planner.case import ITEMSIZES, Case
from zvae_tiled.planner.ends import PROCESS, SMALL_CHANGE
from zvae_tiled.planner.make_video import make_video_plan
from zvae_tiled.planner.video import VideoPlan


def counted(plan: VideoPlan, device: Device) -> int:
    """The most bytes alive in a dry run."""
    case, chain = plan.case, plan.case.chain
    kernels = Counting(device, case.itemsize)
    norms = {f"{step.norm.name}.gamma": np.ones(step.inputs) for step in chain.steps if step.norm}

    def ready(frame: int) -> Shape:
        return Shape(kernels.ledger, case.height, case.width, chain.channels[0], case.itemsize)

    rows = [0] * plan.frames
    for frame, band in VideoRun(plan, kernels, Nothing(), norms, Path("/tmp")).rows(ready):
        rows[frame] += band.rows
        del band
    kernels.note()
    assert rows == [case.pixels[0]] * plan.frames
    assert kernels.ledger.live == 0, "something is never freed"
    return max(kernels.peaks)


def planned(config: QwenImageConfig, case: Case, share: float, device: Device) -> VideoPlan:
    """A plan for a budget between the smallest that works (share 0) and one that keeps every map (share 1)."""

    def make(size: int) -> VideoPlan:
        return make_video_plan(case, Budget(size, "here"), device, weights=0)

    with pytest.raises(BudgetError) as error:
        make(1)
    least, most = error.value.needed, make(1 << 60).predicted_peak
    return make(int(least + (most - least) * share))


@pytest.mark.parametrize("plans", [6, pytest.param(40, marks=pytest.mark.slow)])
def test_videos_are_predicted_high_enough_and_not_by_far(plans: int, seeds: Seeds) -> None:
    ratios = []
    for seed in seeds(plans):
        rng = Random(seed)
        device = replace(rng.choice(CPUS), band_rows=rng.choice([1, 2, 5, 16, 64]))
        levels = rng.choice([1, 2, 2, 3])
        config = QwenImageConfig(
            base_dim=2 * rng.randint(1, 8),
            dim_mult=tuple(rng.choice([1, 2, 3]) for _ in range(levels)),
            num_res_blocks=rng.choice([1, 2]),
            temperal_downsample=tuple(rng.random() < 0.6 for _ in range(levels - 1)),
        )
        size, frames, share = (
            (rng.randint(1, 30), rng.randint(1, 30)),
            rng.randint(1, 4),
            rng.choice([0, 1, rng.random()]),
        )
        case = Case(config, *size, device.name, rng.choice(sorted(ITEMSIZES)), frames, "rows")
        plan = planned(config, case, share, device)
        given = 4 * frames * size[0] * size[1] * config.z_dim + PROCESS + SMALL_CHANGE
        real, model = counted(plan, device), plan.predicted_peak - given
        assert real <= model, f"seed {seed}: {real:,} bytes, predicted {model:,}\n{plan}\n{plan.later}"
        ratios.append(model / real)
    assert median(ratios) < 1.4
