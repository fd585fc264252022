"""Races diffusers on every family: decode and encode at published width, of the same latents and pictures, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from shutil import rmtree

from benchmarks.case import Case
from benchmarks.published import COGVIEW, FIRST, SMALL, WAN_2_2
from benchmarks.runner import Group
from benchmarks.suites.peers import race
from zvae_tiled.devices.native_cpu.choice import native_status
from zvae_tiled.families import Task, config_of

TOOLS: dict[Task, tuple[str, str]] = {
    "decode": ("diffusers_full", "ours"),
    "encode": ("diffusers_encode", "ours_encode"),
}

PRESETS = tuple(preset for preset in (*FIRST, SMALL, WAN_2_2, COGVIEW) if config_of(preset).chain("decode").steps)
"""A family without Steps, whose decode only shifts the range of pixels, has nothing to race."""

FEW, MANY = 10_000_000, 100_000_000
"""A decoder of fewer weights decodes a larger picture, one of more a smaller one: seconds, and not minutes."""


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield a group per VAE and task. The first case of a group is its reference: diffusers in float32."""
    del large
    for preset in PRESETS:
        weights = config_of(preset).chain("decode").parameters
        pixels = 128 if quick else 1024 if weights < FEW else 512 if weights < MANY else 256
        for task in TOOLS:
            yield race(tuple(racers(preset, task, pixels, 1 if quick else 2)), folder, compare=True)
        rmtree(folder / preset)


def racers(preset: str, task: Task, pixels: int, rounds: int) -> Iterator[Case]:
    """Yield both tools in both types, and ours in the smallest budget too.

    Without instructions for bfloat16, torch takes minutes for what it does in seconds in float32: it is left out.
    """
    theirs, ours = TOOLS[task]
    case = partial(Case, "families", height=pixels, width=pixels, family=preset, rounds=rounds)
    for dtype in ("float32", "bfloat16"):
        if dtype == "float32" or native_status().path != "avx2":
            yield case(theirs, dtype=dtype, label=f"diffusers, {task}")
        yield case(ours, dtype=dtype, label=f"zvae_tiled, {task}")
    yield case(ours, label=f"zvae_tiled, {task}", budget="least")
