"""Random video decoders within random budgets: the same bytes, near to float64, in no more memory than predicted."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from tests.support.plans import bits
from tests.support.samples import Seeds
from tests.support.video import video64, video_latents, video_vae
from zvae_tiled.errors import BudgetError
from zvae_tiled.families.qwen_image import QwenImageConfig
from zvae_tiled.planner.ends import PROCESS


@pytest.mark.slow
def test_any_budget_decodes_any_video(seeds: Seeds) -> None:
    for seed in seeds(8):
        rng = Random(seed)
        levels = rng.choice([1, 2, 3])
        config = QwenImageConfig(
            base_dim=2 * rng.randint(1, 3),
            dim_mult=tuple(rng.choice([1, 2]) for _ in range(levels)),
            num_res_blocks=rng.choice([1, 2]),
            temperal_downsample=tuple(rng.random() < 0.6 for _ in range(levels - 1)),
            input_channels=rng.choice([1, 3, 4]),
        )
        vae = video_vae(config, seed=seed)
        latents = video_latents(config, rng.randint(1, 4), rng.randint(1, 12), rng.randint(1, 5), seed)
        found = np.stack([np.asarray(frame) for frame in vae.video(latents).frames()])
        want = video64(vae, latents)
        # A norm of few channels amplifies the last bit of the latents, so some networks move farther than others.
        moved = abs(video64(vae, np.nextafter(latents, np.float32(np.inf))) - want).max()
        assert abs(found - want).max() < max(1e-4 * want.std(), 4 * moved), f"seed {seed}"
        with pytest.raises(BudgetError) as error:
            _ = vae.video(latents, budget="1b").plan
        least = error.value.needed + 4 * found[0].size
        most = vae.video(latents).plan.predicted_peak + 4 * found[0].size
        for share in (0, rng.random(), rng.random() ** 4):
            video = vae.video(latents, budget=f"{int(least + (most - least) * share)}b")
            assert bits(np.stack([np.asarray(frame) for frame in video.frames()])) == bits(found), f"seed {seed}"
            assert video.report is not None
            assert video.report.measured_peak <= video.report.plan.predicted_peak - PROCESS
            assert video.report.plan.predicted_peak <= video.report.plan.budget
