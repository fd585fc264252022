"""Random configurations, and random exact plans for them: everything a planner could choose, and much it would not."""

from __future__ import annotations

from random import Random

import mlx.core as mx
import numpy as np

from zvae_tiled import VAE, Plan, VAEConfig
from zvae_tiled.chain import decoder_chain
from zvae_tiled.loading import dtype_name
from zvae_tiled.plan.plan import Medium, Sweep, endings

MEDIA: tuple[Medium, ...] = ("ram", "disk")


def random_config(rng: Random, narrowest: int = 1) -> VAEConfig:
    """A small decoder: even and odd widths, any number of levels, with and without every optional part."""
    groups = rng.choice([1, 2, 3, 4, 5])
    multiples = [times for times in (1, 2, 3, 5) if groups * times >= narrowest] or [narrowest]
    widths = [groups * rng.choice(multiples) for _ in range(rng.randint(1, 4))]
    return VAEConfig(
        out_channels=rng.choice([1, 3, 3, 4]),
        latent_channels=rng.choice([2, 4, 16]),
        block_out_channels=tuple(widths),
        layers_per_block=rng.choice([1, 1, 2, 3]),
        norm_num_groups=groups,
        use_post_quant_conv=rng.random() < 0.5,
        mid_block_add_attention=rng.random() < 0.7,
    )


def random_plan(
    config: VAEConfig,
    height: int,
    width: int,
    dtype: str,
    rng: Random,
    batch: int = 1,
    media: tuple[Medium, ...] = MEDIA,
) -> Plan:
    """An exact plan drawn by lot: at every ending drop or store, in memory or on disk, with bands of any height.

    Its costs are all zero: it is to be replayed, not believed.
    """
    chain = decoder_chain(config)
    sweeps, stored = [], 0
    for ends, stop in endings(chain):
        store: int | None = None
        medium: Medium | None = rng.choice(media) if ends == "keys" else None
        attention = ends == "moments" and chain.steps[stop].kind == "attention"
        if attention or (ends == "moments" and rng.random() < 0.4):
            cuts = [stop] if attention or not chain.steps[stop - 1].upsample else [stop, stop - 1]
            store, medium = rng.choice(cuts), rng.choice(media)
        sweeps.append(Sweep(stored, stop, ends, rng.randint(1, height * chain.factors[stored]), store, medium))
        stored = stored if store is None else store
    plan = Plan(
        config=config,
        height=height,
        width=width,
        batch=batch,
        dtype=dtype,
        device="cpu",
        output="array",
        budget=1 << 40,
        sweeps=tuple(sweeps),
        base=0,
        predicted_peak=0,
        spilled=0,
        needed_flops=1,
    )
    plan.check()
    return plan


def plan_for(vae: VAE, shape: tuple[int, ...], rng: Random, media: tuple[Medium, ...] = MEDIA) -> Plan:
    """A random plan for NCHW latents of this shape."""
    batch, _, height, width = shape
    return random_plan(vae.config, height, width, dtype_name(vae.dtype), rng, batch, media)


def bits(array: mx.array) -> bytes:
    """The bytes of an array; NumPy knows no bfloat16, but float32 holds each of them."""
    return np.asarray(array.astype(mx.float32)).tobytes()
