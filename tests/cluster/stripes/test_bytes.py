"""A picture that is computed stripe by stripe has the bytes of one that is not, whatever the plan and the stripes."""

from __future__ import annotations

from itertools import cycle
from random import Random
from typing import Any

import mlx.core as mx
import pytest

from tests.engine.test_grain import CONFIG, Case
from tests.support.grains import compute_by_grains, give_grains
from tests.support.models import TINY_DC, pipelines, random_images, random_vae
from tests.support.plans import TASKS, bits, random_dc, random_plan
from tests.support.samples import Seeds
from tests.support.striped import Here, Sent, in_stripes, striped_rows
from zvae_tiled.families import Task, VAEConfig
from zvae_tiled.inputs.images import read_images
from zvae_tiled.inputs.latents import read_latents
from zvae_tiled.jobs.decode import Decode
from zvae_tiled.jobs.encode import Encode
from zvae_tiled.jobs.job import Terms
from zvae_tiled.planner.case import ITEMSIZES
from zvae_tiled.planner.striped_plan import StripedPlan
from zvae_tiled.sinks.distribution import DistributionSink

COUNTS = (7, 3, 2, 1)
"""Stripes."""


class Small(Case):
    """A VAE of two levels with an attention, and a few rows: for the default run."""

    def __init__(self, rng: Random, dtype: str, task: Task) -> None:
        self.config, self.rng, self.task, self.dtype = CONFIG, rng, task, dtype
        self.cells = rng.randint(7, 11), rng.randint(1, 3)
        made = pipelines if task == "decode" else random_images
        self.vae, self.given = random_vae(CONFIG, dtype), made(CONFIG, *self.cells, 1, rng.randint(0, 99))


class Linears(Case):
    """A random VAE of SANA, and some rows."""

    def __init__(self, rng: Random, dtype: str, task: Task) -> None:
        self.rng, self.task, self.dtype = rng, task, dtype
        self.config, self.cells = self.drawn(rng)
        made = pipelines if task == "decode" else random_images
        self.vae, self.given = random_vae(self.config, dtype), made(self.config, *self.cells, 1, rng.randint(0, 99))

    def drawn(self, rng: Random) -> tuple[VAEConfig, tuple[int, int]]:
        """The VAE, and the size of what it decodes or encodes."""
        return random_dc(rng), (rng.randint(1, 9), rng.randint(1, 3))


class Linear(Linears):
    """A VAE with a linear attention, and very few rows: for the default run."""

    def drawn(self, rng: Random) -> tuple[VAEConfig, tuple[int, int]]:
        return TINY_DC, (rng.randint(2, 3), 1)


def striped(case: Case, count: int, hands: Here) -> bytes:
    """The bytes that a random plan gives, stripe by stripe."""
    return computed(case, planned(case, count), hands)


def planned(case: Case, count: int) -> StripedPlan:
    """A random plan, in stripes."""
    height, width = (case.config.latents.patch * cells for cells in case.cells)
    return in_stripes(case.vae, random_plan(case.config, height, width, case.dtype, case.rng, task=case.task), count)


def computed(case: Case, planned: StripedPlan, hands: Here) -> bytes:
    """The bytes that a plan gives."""
    job: Any
    terms = Terms(plan=planned.plan)
    if case.task == "decode":
        job = Decode(case.vae, read_latents(case.given, case.config), True, terms, raw=True)
    else:
        job = Encode(case.vae, read_images(case.given, case.config), terms)
    return finished(case, striped_rows(case.vae, job, planned, hands).astype(case.vae.dtype))


def finished(case: Case, rows: mx.array) -> bytes:
    if case.task == "decode":
        return bits(rows)
    vae = case.vae
    sink = DistributionSink(vae.config.latents, vae.weights, (1, rows.shape[1], rows.shape[2]), vae.dtype)
    sink.write(0, rows)
    found = sink.result()
    return bits(found.mean) + bits(found.logvar)


def same_bytes(kind: type[Case], task: Task, seeds: Seeds, count: int) -> None:
    """Not a property of Hypothesis: a run that explores would try it a thousand times, which takes an hour."""
    for seed, stripes in zip(seeds(count), cycle(COUNTS)):
        rng = Random(seed)
        case = kind(rng, rng.choice(sorted(ITEMSIZES)), task)
        assert striped(case, stripes, Sent()) == case.bytes(), f"seed {seed}, {stripes} stripes"


@pytest.mark.parametrize("task", TASKS)
def test_stripes_give_the_bytes_of_the_whole(task: Task, seeds: Seeds) -> None:
    same_bytes(Small, task, seeds, 2)


@pytest.mark.parametrize(("kind", "count"), [(Linear, 1), pytest.param(Linears, 4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("task", TASKS)
def test_stripes_with_linear_attentions_give_the_bytes_of_the_whole(
    task: Task, kind: type[Case], count: int, seeds: Seeds
) -> None:
    same_bytes(kind, task, seeds, count)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_stripes_of_any_family_give_the_bytes_of_the_whole(task: Task, seeds: Seeds) -> None:
    same_bytes(Case, task, seeds, 8)


@pytest.mark.slow
@pytest.mark.usefixtures("mlx_kernels")
@pytest.mark.parametrize(("kind", "count"), [(Case, 2), (Linears, 2)])
@pytest.mark.parametrize("task", TASKS)
def test_stripes_give_the_bytes_of_the_whole_on_kernels_that_need_grains(
    task: Task, kind: type[Case], count: int, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_grains(monkeypatch)
    compute_by_grains(monkeypatch)
    same_bytes(kind, task, seeds, count)
