"""What a task of a striped picture allocates is within the plan on MLX's kernels too, which copy what arrives."""

from __future__ import annotations

import gc
from collections.abc import Callable
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.cluster.stripes.test_bytes import Linears, computed
from tests.support.striped import Here, sent
from zvae_tiled.cluster.stripes import tasks
from zvae_tiled.cluster.stripes.piece import Piece
from zvae_tiled.cluster.stripes.sweep import Engine
from zvae_tiled.devices.counted import active_memory, peak_memory, reset_peak
from zvae_tiled.devices.here import kernels_for, this_device
from zvae_tiled.engine.moments import Merged
from zvae_tiled.families import VAEConfig
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.families.dc import DCConfig
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.region import Rows
from zvae_tiled.planner.striped_plan import striped_plan

WIDE = AutoencoderKLConfig(block_out_channels=(4, 64), layers_per_block=1, norm_num_groups=2, latent_channels=3)
"""Its attention's keys are large beside everything else."""

ROWS = 48
GATHERS = DCConfig(
    latent_channels=4,
    attention_head_dim=256,
    encoder_block_types=("EfficientViTBlock",),
    decoder_block_types=("EfficientViTBlock",),
    encoder_block_out_channels=(256,),
    decoder_block_out_channels=(256,),
    encoder_layers_per_block=(1,),
    decoder_layers_per_block=(1,),
    encoder_qkv_multiscales=((),),
    decoder_qkv_multiscales=((),),
)
"""What its linear attention gathers is large beside its maps."""


class Summing(Linears):
    """Rows of one pixel, each of which adds a quarter of a megabyte."""

    def drawn(self, rng: Random) -> tuple[VAEConfig, tuple[int, int]]:
        del rng
        return GATHERS, (ROWS, 1)


@pytest.mark.usefixtures("mlx_kernels")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_keys_of_other_stripes_are_in_memory_once_from_the_attention_to_the_end(dtype: str) -> None:
    kind = getattr(mx, dtype)
    device = this_device(kind)
    kernels = kernels_for(device, kind)
    case = Case(WIDE, 320, 24, device.name, dtype, output="rows")
    planned = striped_plan(case, device, 64, 64, 1 << 40, 0)
    stage, chain = planned.plan.pixels, case.chain
    asks = next(each for each in stage.sweeps if each.start == chain.attention and each.ends != "keys")
    both = asks, stage.sweeps[-1]
    passed = [step for each in both for step in chain.steps[each.start : each.stop]]
    shapes = {name: shape for step in passed for name, shape in step.shapes.items()}
    weights = {name: mx.random.normal(shape, scale=0.1) for name, shape in shapes.items()}
    mx.eval(*weights.values())
    engine = Engine(chain, kernels, weights, {name: np.ones(shape) for name, shape in shapes.items()})
    others = [rows(kernels, stripe, case.width, 128) for stripe in planned.stripes]
    keys = sum(strip.nbytes for piece in others for strip in piece.value)
    gc.collect()
    before = active_memory()
    arrived = sent(others)
    for sweep, asked in zip(both, (arrived, []), strict=True):
        index, start = stage.sweeps.index(sweep), sweep.start
        own = rows(kernels, planned.reads[index][1], case.width * chain.factors[start], chain.channels[start])
        merged = {start: Merged(1, np.zeros(2), np.ones(2))}
        gc.collect()
        reset_peak()
        tasks.sweep(lambda: engine, stage, index, planned.stripes[1], merged, own, [], asked)
        took, predicted = peak_memory() - before, sweep.peak - PROCESS
        assert took <= predicted < took + keys  # they do not fit in twice


class Gathered(Exception):
    """The sums of all rows are added up."""


class Gathers(Here):
    """A worker that has all stripes, until then."""

    def do(self, stripe: int, name: str, task: Callable[..., Any], *options: Any) -> Any:
        if task is tasks.map_sums:
            raise Gathered
        return super().do(stripe, name, task, *options)


def test_the_sums_of_a_workers_rows_are_planned() -> None:
    case = Summing(Random(0), "float32", "decode")
    device = this_device(case.vae.dtype)
    planned = striped_plan(Case(GATHERS, *case.cells, device.name, output="rows"), device, 1, 16, 1 << 40, 0)
    gc.collect()
    before = active_memory()
    reset_peak()
    with pytest.raises(Gathered):
        computed(case, planned, Gathers())
    took, predicted = peak_memory() - before, planned.plan.predicted_peak - PROCESS
    assert took <= predicted < took + ROWS * 4 * 256 * 257  # they would not fit otherwise


def rows(kernels: Any, stripe: Rows, width: int, channels: int) -> Piece:
    """Some rows of a map."""
    rng = np.random.default_rng(stripe.first)
    values = rng.standard_normal((stripe.stop - stripe.first, width, channels)).astype(np.float32)
    strip = kernels.from_host(values)
    assert isinstance(strip, mx.array)
    return Piece(stripe, [strip])
