"""With spilling and dropping, memory does not grow with the height: predicted for real sizes, run for a narrow VAE."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import mlx.core as mx
import pytest

from tests.support.models import random_latents, save_random, whole_decode
from zvae_tiled import VAE, plan
from zvae_tiled.devices.counted import active_memory, peak_memory, reset_peak
from zvae_tiled.errors import BudgetError
from zvae_tiled.families import config_of
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.inputs.latent_space import unscale_latents
from zvae_tiled.planner.case import PlannedTask
from zvae_tiled.planner.ends import PROCESS

Z_IMAGE = config_of("z-image")
NARROW = AutoencoderKLConfig(
    latent_channels=4, block_out_channels=(8, 8, 16), norm_num_groups=4, mid_block_add_attention=False
)


def needed(height: int, width: int, dtype: str) -> int:
    with pytest.raises(BudgetError) as error:
        plan(Z_IMAGE, height, width, "1B", dtype=dtype, device="cpu/mlx", task="stream")
    return error.value.needed


@pytest.mark.parametrize(("width", "dtype"), list(product([1024, 16384], ["bfloat16", "float32"])))
@pytest.mark.sample(6)
def test_the_smallest_budget_grows_by_the_latents_alone(width: int, dtype: str) -> None:
    heights = [2048, 4096, 8192, 16384, 32768, 65536]
    for (low, least), (high, most) in pairwise((height, needed(height, width, dtype)) for height in heights):
        latents = (high - low) * width // 64 * Z_IMAGE.latent_channels
        # The latents, and the copies made before the first Step: at most 5 bytes a pixel of the
        # picture, where a full decode takes 4,100.
        assert most - least <= 20 * latents, f"{width}x{high} needs {most:,}, {width}x{low} {least:,}"


def test_16384_squared_fits_8_gb() -> None:
    tasks: tuple[PlannedTask, ...] = ("decode", "stream")
    for task in tasks:
        made = plan("z-image", 16384, 16384, "8GB", device="cpu/mlx", task=task)
        made.pixels.check(made.case.chain)
        assert made.predicted_peak <= made.budget == 8_000_000_000
        assert made.predicted_peak < 16384**2 * 128 * 2, "less than one map of the last level"
        assert made.extra_flops < 0.5


def full_decode(vae: VAE, height: int, width: int) -> int:
    """The measured peak of a full decode of latents of this size, weights included."""
    latents = mx.array(random_latents(vae.config, height, width).transpose(0, 2, 3, 1))
    ready = unscale_latents(latents, vae.config.latents, vae.weights).astype(vae.dtype)
    mx.eval(ready)
    before = mx.get_active_memory() - ready.nbytes
    mx.reset_peak_memory()
    mx.eval(whole_decode(vae, ready))
    return mx.get_peak_memory() - before + vae.weight_bytes


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float32", marks=pytest.mark.slow)])
def test_twenty_times_the_size_a_full_decode_could_do(dtype: str, tmp_path: Path) -> None:
    vae = VAE.load(save_random(NARROW, tmp_path / "vae.safetensors"), dtype, config=NARROW)
    width, rows = 64, 4
    budget = full_decode(vae, rows, width)
    assert full_decode(vae, rows + 1, width) > budget, "this is the largest it can do"
    height = 20 * rows
    latents = random_latents(NARROW, height, width)
    with pytest.raises(BudgetError) as error:
        vae.plan(height * 4, width * 4, "1B", task="stream")
    assert error.value.needed - PROCESS <= budget
    made = vae.plan(height * 4, width * 4, f"{error.value.needed}B", task="stream")
    assert {sweep.choice for sweep in made.sweeps if sweep.ends == "moments"} >= {"spill"}
    before = active_memory()
    reset_peak()
    seen, peak = 0, 0
    for band in vae.stream(latents, plan=made, spill_folder=tmp_path):
        seen += band.shape[1]
        peak = max(peak, peak_memory())
        del band
    assert seen == 20 * rows * 4
    measured = max(peak, peak_memory()) - before + vae.weight_bytes
    assert measured <= made.predicted_peak - PROCESS <= budget, f"{measured:,} of {made.predicted_peak:,} of {budget:,}"
