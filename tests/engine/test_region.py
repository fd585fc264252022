"""A sweep that is run in parts, each from the rows that its first row needs, gives the bytes of the whole sweep."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given

from tests.engine.test_grain import Case, dtypes, rngs
from tests.families.test_dc import SMALL
from tests.support.grains import compute_by_grains, give_grains
from tests.support.models import random_latents, random_vae
from tests.support.plans import TASKS, bits, random_plan
from tests.support.samples import examples
from zvae_tiled.engine.bands import Band, Store
from zvae_tiled.engine.moments import Moments
from zvae_tiled.engine.region import cropped
from zvae_tiled.engine.run import Run
from zvae_tiled.engine.sums import RowSums, Sums
from zvae_tiled.families import Task
from zvae_tiled.planner.region import Asked, Rows


class Parts(Run[Any]):
    """Runs each sweep in up to four parts. The rows it stores are cut elsewhere than those it ends in."""

    rng = Random(0)
    count = 0

    def _part(
        self,
        index: int,
        store: Store[Any],
        target: Store[Any] | None,
        release: bool,
        moments: Moments | Sums | RowSums | None,
        asked: Asked,
    ) -> Iterator[Any]:
        parts = min(self.rng.randint(1, 4), asked.ended.stop)
        inside = sorted(self.rng.sample(range(1, asked.ended.stop), parts - 1))
        ended = _between([0, *inside, asked.ended.stop])
        stored: list[Rows] | list[None] = [None] * parts
        if asked.stored is not None:
            edges = sorted(self.rng.randint(0, asked.stored.stop) for _ in range(parts - 1))
            stored = _between([0, *edges, asked.stored.stop])
        for each in range(parts):
            Parts.count += 1
            last = release and each == parts - 1
            yield from super()._part(index, store, target, last, moments, Asked(ended[each], stored[each]))


def _between(edges: list[int]) -> list[Rows]:
    return [Rows(low, high) for low, high in pairwise(edges)]


class Lists:
    """Kernels of lists."""

    def rows(self, x: list[int]) -> int:
        return len(x)

    def join(self, spans: list[tuple[list[int], int, int]]) -> list[int]:
        return [row for x, first, stop in spans for row in x[first:stop]]


def test_a_band_that_was_cut_is_freed() -> None:
    band: Band[Any] = Band([0, 1, 2, 3], [[([4, 5, 6, 7], 0, 4)]])
    (found,) = cropped(Lists(), iter([band]), Rows(10, 14), Rows(11, 13))  # type: ignore[arg-type]
    assert (found.value, found.skips) == ([1, 2], [[([5, 6], 0, 2)]])
    assert (band.value, band.skips) == (None, [])


@pytest.mark.slow
def test_parts_of_windows_of_five_rows_give_the_bytes_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    vae, latents = random_vae(SMALL), random_latents(SMALL, 4, 2)
    drawn = random_plan(SMALL, 4, 2, "float32", Random(0))
    want = bits(vae.decode(latents, plan=drawn, raw=True))
    monkeypatch.setattr("zvae_tiled.engine.picture.Run", Parts)
    for seed in range(3):
        monkeypatch.setattr(Parts, "rng", Random(seed))
        assert bits(vae.decode(latents, plan=drawn, raw=True)) == want


def same_bytes(task: Task, grains: bool) -> None:
    @examples(30)
    @given(rngs, dtypes)
    def check(rng: Random, dtype: str) -> None:
        case = Case(rng, dtype, task)
        want = case.bytes()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("zvae_tiled.engine.picture.Run", Parts)
            patch.setattr(Parts, "rng", rng)
            before = Parts.count
            assert case.bytes() == want
            assert Parts.count > before or not case.config.chain(task).steps

    with pytest.MonkeyPatch.context() as patch:
        if grains:
            give_grains(patch)
            compute_by_grains(patch)
        check()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.sample(2)
def test_parts_give_the_bytes_of_the_whole(task: Task) -> None:
    same_bytes(task, grains=False)


@pytest.mark.slow
@pytest.mark.usefixtures("mlx_kernels")
@pytest.mark.parametrize("task", TASKS)
def test_parts_give_the_bytes_of_the_whole_on_kernels_that_need_grains(task: Task) -> None:
    same_bytes(task, grains=True)
