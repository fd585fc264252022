"""Random configs and random exact plans for them: all that a planner could choose, and much that it would not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any, Literal

import mlx.core as mx
import numpy as np

from zvae_tiled import VAE, Plan, VAEConfig
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.families import Task
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.families.dc import BLOCKS, DCConfig
from zvae_tiled.families.flux2 import Flux2Config
from zvae_tiled.families.hunyuan_image import HunyuanImageConfig
from zvae_tiled.families.pixel_space import PixelSpaceConfig
from zvae_tiled.families.qwen_image import QwenImageConfig
from zvae_tiled.families.qwen_image_2_1 import QwenImage21Config
from zvae_tiled.families.tiny import TinyConfig
from zvae_tiled.families.wan import WanConfig
from zvae_tiled.planner.budget import Budget
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.layout import Resident, exact_layout
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.quality import Exact, Whole, kept_keys
from zvae_tiled.planner.replay import costed
from zvae_tiled.planner.stage import Medium, Sweep, endings
from zvae_tiled.weights.vae import dtype_name

TASKS: tuple[Task, ...] = ("decode", "encode")
MEDIA: tuple[Medium, ...] = ("ram", "disk")


def random_config(rng: Random, narrowest: int = 1) -> AutoencoderKLConfig:
    """A small VAE: even and odd widths, any number of levels, with and without every optional part."""
    groups = rng.choice([1, 2, 3, 4, 5])
    multiples = [times for times in (1, 2, 3, 5) if groups * times >= narrowest] or [narrowest]
    widths = [groups * rng.choice(multiples) for _ in range(rng.randint(1, 4))]
    pixels = rng.choice([1, 3, 3, 4])
    config = AutoencoderKLConfig(
        in_channels=pixels,
        out_channels=pixels,
        latent_channels=rng.choice([2, 4, 16]),
        block_out_channels=tuple(widths),
        layers_per_block=rng.choice([1, 1, 2, 3]),
        norm_num_groups=groups,
        use_post_quant_conv=rng.random() < 0.5,
        mid_block_add_attention=rng.random() < 0.7,
    )
    return replace(config, use_quant_conv=config.use_post_quant_conv)


def random_any(rng: Random) -> VAEConfig:
    """A small VAE of any family."""
    return random_config(rng) if rng.random() < 0.5 else random_kin(rng)


def random_kin(rng: Random) -> VAEConfig:
    """A small VAE of another family than AutoencoderKL."""
    if rng.random() < 0.1:
        return PixelSpaceConfig(rng.choice([1, 3, 4]))
    if rng.random() < 0.4:
        narrow, groups = random_config(rng), rng.choice([1, 2])
        widths = tuple(2 * groups * rng.randint(1, 3) for _ in narrow.block_out_channels)
        pipelines: list[Literal["flux2", "ideogram4", "fibo2"]] = ["flux2", "ideogram4", "fibo2"]
        config = Flux2Config(
            latent_channels=rng.choice([2, 4]),
            block_out_channels=widths,
            layers_per_block=rng.choice([1, 2]),
            norm_num_groups=groups,
            pipeline=rng.choice(pipelines),
        )
        return replace(config, decoder_block_out_channels=widths[::-1] if rng.random() < 0.3 else None)
    if rng.random() < 0.4:
        return random_tiny(rng)
    if rng.random() < 0.6:
        return rng.choice([random_residual, random_residual, random_hunyuan, random_dc])(rng)
    levels = rng.randint(1, 4)
    channels = rng.choice([2, 4, 16])
    return QwenImageConfig(
        base_dim=2 * rng.randint(1, 5),
        z_dim=channels,
        dim_mult=tuple(rng.choice([1, 2, 3]) for _ in range(levels)),
        num_res_blocks=rng.choice([1, 1, 2]),
        temperal_downsample=tuple(rng.random() < 0.5 for _ in range(levels - 1)),
        input_channels=rng.choice([3, 3, 4]),
        latents_mean=tuple(rng.gauss(0, 1) for _ in range(channels)),
        latents_std=tuple(rng.uniform(0.5, 3) for _ in range(channels)),
    )


def random_residual(rng: Random) -> VAEConfig:
    """A small VAE of Qwen-Image 2.1 or Wan 2.2."""
    multiples = [1, rng.choice([1, 2]), rng.choice([2, 4])][-rng.randint(1, 3) :]
    channels, last = rng.choice([2, 4]), rng.random() < 0.5
    fields: dict[str, Any] = {
        "base_dim": 2 * rng.randint(1, 4),
        "decoder_base_dim": rng.choice([None, 2 * rng.randint(1, 4)]),
        "z_dim": channels,
        "dim_mult": (*multiples, multiples[-1]),
        "num_res_blocks": rng.choice([2, 2, 3]),
        "temperal_downsample": tuple(rng.random() < 0.5 for _ in multiples),
        "latents_mean": tuple(rng.gauss(0, 1) for _ in range(channels)),
        "latents_std": tuple(rng.uniform(0.5, 3) for _ in range(channels)),
    }
    if last:
        return QwenImage21Config(in_channels=4, out_channels=rng.choice([3, 4]), **fields)
    return WanConfig(in_channels=12, out_channels=12, is_residual=True, patch_size=2, **fields)


def random_hunyuan(rng: Random) -> VAEConfig:
    """A small VAE of HunyuanImage."""
    levels = rng.randint(1, 3)
    return HunyuanImageConfig(
        latent_channels=rng.choice([4, 8]),
        block_out_channels=tuple(32 * rng.choice([1, 2]) for _ in range(levels)),
        layers_per_block=rng.choice([1, 2]),
        spatial_compression_ratio=2 ** (levels - 1),
    )


def random_dc(rng: Random) -> VAEConfig:
    """A small VAE of SANA."""
    levels, head = rng.randint(1, 3), rng.choice([2, 4])
    fields: dict[str, Any] = {}
    for half in ("encoder", "decoder"):
        fields |= {
            f"{half}_block_types": tuple(rng.choice(BLOCKS) for _ in range(levels)),
            f"{half}_block_out_channels": tuple(8 * rng.choice([1, 2]) for _ in range(levels)),
            f"{half}_layers_per_block": tuple(rng.choice([1, 1, 2]) for _ in range(levels)),
            f"{half}_qkv_multiscales": tuple(rng.choice([(), (3,), (5,)]) for _ in range(levels)),
        }
    return DCConfig(latent_channels=rng.choice([4, 8]), attention_head_dim=head, scaling_factor=0.5, **fields)


def random_tiny(rng: Random) -> TinyConfig:
    """A small AutoencoderTiny."""
    levels = rng.randint(1, 4)
    halved = rng.randint(0, levels - 1)  # by the encoder's stem
    down, up = ([rng.choice([1, 1, 2, 3]) for _ in range(count)] for count in (levels - halved, levels))
    widths = [[rng.randint(2, 9) for _ in range(levels)] for _ in range(2)]
    return TinyConfig(
        latent_channels=rng.choice([2, 4, 16]),
        encoder_block_out_channels=tuple(widths[0][halved - 1 : -1] if halved else widths[0]),
        decoder_block_out_channels=tuple(widths[1]),
        num_encoder_blocks=tuple(down),
        num_decoder_blocks=tuple(up),
        encoder_stem=tuple(widths[0][:halved]),
        pools=rng.random() < 0.4,
        packs=not halved and rng.random() < 0.4,
        patch=rng.choice([1, 1, 2]),
    )


def random_plan(
    config: VAEConfig,
    height: int,
    width: int,
    dtype: str,
    rng: Random,
    batch: int = 1,
    media: tuple[Medium, ...] = MEDIA,
    task: Task = "decode",
    quality: Whole | None = None,
) -> Plan:
    """A random plan, exact or of sampled keys.

    It drops or stores at every ending, in memory or on disk, with bands of any height.

    Its costs are those of MLX's kernels on a CPU.
    """
    case = Case(config, height, width, CPU.name, dtype, batch, "array", task)
    quality = quality or Exact()
    whole = exact_layout(case, Resident(0, 0), kept_keys(quality, case))
    (stage,), chain = whole.stages, case.chain
    sweeps, stored = [], 0
    for ends, stop in endings(chain, stage):
        store: int | None = None
        medium: Medium | None = rng.choice(media) if ends == "keys" else None
        attention = ends == "moments" and chain.steps[stop].kind == "attention"
        if attention or (ends == "moments" and rng.random() < 0.4):
            cuts = [stop] if attention or not chain.steps[stop - 1].upsample else [stop, stop - 1]
            if chain.steps[stop].kind == "linear":
                cuts = [cut for cut in range(stored + 1, stop + 1) if cut == stop or chain.steps[cut].opens]
            store, medium = rng.choice(cuts), rng.choice(media)
        rows, anew = rng.randint(1, height * chain.factors[stored]), rng.random() < 0.3
        sweeps.append(Sweep(stored, stop, ends, rows, store, medium, anew))
        stored = stored if store is None else store
    drawn = replace(stage, sweeps=tuple(sweeps))
    return costed(Plan(case, quality, 1 << 40, whole.grid, whole.factors, (drawn,)), CPU)


def exact_plan(
    case: Case,
    budget: int,
    device: Device = CPU,
    weights: int | None = None,
    gathered: int = 0,
    quality: Whole | None = None,
) -> Plan:
    """The planner's plan of an exact decode, or encode; or of a decode with sampled keys."""
    return make_plan(case, quality or Exact(), Budget(budget, "a test"), device, weights, gathered)


def with_sweeps(plan: Plan, sweeps: Iterable[Sweep]) -> Plan:
    """An exact plan with other sweeps. Its costs stay those of the original plan."""
    (stage,) = plan.stages
    return replace(plan, stages=(replace(stage, sweeps=tuple(sweeps)),))


def with_rows(plan: Plan, rows: int) -> Plan:
    """An exact plan whose sweeps read `rows` rows at once, or all rows of a smaller map."""
    height, factors = plan.case.height, plan.case.chain.factors
    return with_sweeps(plan, (replace(sweep, rows=min(rows, height * factors[sweep.start])) for sweep in plan.sweeps))


def plan_for(
    vae: VAE,
    shape: tuple[int, ...],
    rng: Random,
    media: tuple[Medium, ...] = MEDIA,
    task: Task = "decode",
    quality: Whole | None = None,
) -> Plan:
    """A random plan for NCHW latents of this shape, or for NHWC images."""
    cell, patch = vae.config.cell, vae.config.latents.patch
    cells = shape[2:] if task == "decode" else [side // cell for side in shape[1:3]]
    height, width = (patch * count for count in cells)
    return random_plan(vae.config, height, width, dtype_name(vae.dtype), rng, shape[0], media, task, quality)


def bits(array: mx.array | np.ndarray) -> bytes:
    """The bytes of an array; NumPy knows no bfloat16, but float32 holds each of them."""
    if isinstance(array, np.ndarray):
        return array.tobytes()
    return np.asarray(array.astype(mx.float32)).tobytes()
