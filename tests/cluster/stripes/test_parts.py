"""What needs no cluster: pieces, moments of rows, plans of stripes, arguments and orders that are refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.plans import random_config, random_dc
from tests.support.samples import examples
from zvae_tiled.cluster import decode_many, run_striped
from zvae_tiled.cluster.crew import crew
from zvae_tiled.cluster.stripes.piece import Piece
from zvae_tiled.cluster.stripes.sweep import Result
from zvae_tiled.cluster.stripes.tasks import summed
from zvae_tiled.devices.counted import active_memory
from zvae_tiled.devices.here import this_device
from zvae_tiled.engine.moments import Moments, RowMoments
from zvae_tiled.engine.sums import RowSums, Sums
from zvae_tiled.errors import BudgetError, ClusterError, InputError
from zvae_tiled.families import VAEConfig
from zvae_tiled.order import Order
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.quality import Stream, Tiles
from zvae_tiled.planner.region import Rows
from zvae_tiled.planner.sampled import Sampled
from zvae_tiled.planner.striped_plan import striped_plan
from zvae_tiled.planner.stripes import asked, split

rngs = st.integers(0, 1 << 32).map(Random)


@examples(20)
@given(rngs)
def test_moments_of_rows_merge_to_the_bits_of_all_rows(rng: Random) -> None:
    groups, members, rows, width = rng.randint(1, 4), rng.randint(1, 3), rng.randint(1, 100), rng.randint(1, 9)
    means, m2s = np.random.default_rng(rng.randint(0, 99)).normal(size=(2, rows, groups * members)).astype(np.float32)
    whole, merged = Moments(groups), Moments(groups)
    whole.add(means, np.abs(m2s), width)
    edges = sorted(rng.randint(0, rows) for _ in range(rng.randint(0, 5)))
    for low, high in zip([0, *edges], [*edges, rows], strict=True):
        part = RowMoments(groups)
        part.add(means[low:high], np.abs(m2s)[low:high], width)
        merged.merge(part.rows, part.each)
    assert merged.total.to_json() == whole.total.to_json()


@examples(20)
@given(rngs)
def test_sums_of_stripes_add_up_to_the_bits_of_all_rows(rng: Random) -> None:
    shape, count = (2, 3, 2), rng.randint(1, 60)
    values = np.random.default_rng(rng.randint(0, 99)).normal(size=(2, count, *shape))
    rows = (values[0] * np.exp2(9 * values[1])).astype(np.float32)  # of many sizes: float64 rounds their sums
    whole, total = Sums(shape), None
    whole.add(rows)
    edges = sorted(rng.sample(range(1, count), rng.randint(0, min(6, count - 1))))
    for low, high in pairwise([0, *edges, count]):
        part, middle = RowSums(shape, high - low), rng.randint(low, high)
        part.add(rows[low:middle])
        part.add(rows[middle:high])
        total = summed(Result(sums=part.rows), total)
    assert total is not None
    assert total.to_json() == whole.total.to_json()


@given(st.integers(1, 300), st.integers(1, 40))
def test_stripes_have_every_row_once_and_none_is_empty(height: int, count: int) -> None:
    stripes = split(height, count)
    assert [row for stripe in stripes for row in range(*stripe)] == list(range(height))
    assert len(stripes) == min(height, count)
    tall = {stripe.stop - stripe.first for stripe in stripes}
    assert max(tall) - min(tall) <= 1


def test_a_piece_is_pickled_out_of_band_and_says_how_large_it_is() -> None:
    value, skip = (np.arange(4 * 3 * 2, dtype=np.uint16).reshape(1, 4, 3, 2) for _ in range(2))
    piece = Piece(Rows(10, 14), [value[:, :1], value[:, 1:]], [[skip]])
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(piece, protocol=5, buffer_callback=buffers.append)
    assert sum(len(buffer.raw()) for buffer in buffers) == 2 * value.nbytes <= piece.__sizeof__()
    assert len(data) < 1000
    again = pickle.loads(data, buffers=buffers)
    part = again.part(Rows(8, 13))
    assert part.rows == Rows(10, 13)
    assert (part.value[0] == value[:, :3]).all()
    assert (part.skips[0][0] == skip[:, :3]).all()
    assert not np.shares_memory(part.value[0], value)


@pytest.mark.parametrize("outside", [True, False])
def test_rows_that_have_arrived_are_counted_while_any_of_them_is_in_use(outside: bool) -> None:
    value, skip = (np.zeros((1, 4, 300, 200), np.float32) for _ in range(2))
    buffers: list[pickle.PickleBuffer] = []
    hook = buffers.append if outside else None
    data = pickle.dumps(Piece(Rows(10, 14), [value], [[skip]]), protocol=5, buffer_callback=hook)
    before = active_memory()
    piece = pickle.loads(data, buffers=[bytes(buffer.raw()) for buffer in buffers])
    assert active_memory() - before == 2 * value.nbytes
    row = piece.value[0][:, 2:3]
    del piece
    assert active_memory() - before == value.nbytes
    del row
    assert active_memory() == before


def random_case(rng: Random, make: Callable[[Random], VAEConfig] = random_config) -> Case:
    return Case(make(rng), rng.randint(8, 60), rng.randint(2, 20), this_device().name, "float32", output="rows")


@examples(16)
@given(rngs)
def test_a_plan_of_stripes_fits_and_its_stripes_read_what_their_sweeps_need(rng: Random) -> None:
    case = random_case(rng, rng.choice([random_config, random_dc]))
    device, workers, weights = this_device(), rng.randint(1, 4), 1 << 20
    roomy = striped_plan(case, device, workers, 2 * workers, 1 << 40, weights)
    stage = roomy.plan.pixels
    stage.check(case.chain)
    assert (stage.height, stage.width) == (case.height, case.width)
    assert not any(sweep.medium == "disk" for sweep in stage.sweeps)
    for index, reads in enumerate(roomy.reads):
        for stripe, read in zip(roomy.stripes, reads, strict=True):
            ended = asked(case.chain, stage, index, stripe).ended
            factors = case.chain.factors
            start, stop = factors[stage.sweeps[index].start], factors[stage.sweeps[index].stop]
            assert read.first * stop <= ended.first * start
            assert read.stop * stop >= ended.stop * start
    with pytest.raises(BudgetError) as raised:
        striped_plan(case, device, workers, workers, 1, weights)
    needed = raised.value.needed
    least = striped_plan(case, device, workers, workers, needed, weights)
    assert least.plan.predicted_peak <= needed


def test_a_budget_that_is_too_small_names_the_workers_that_would_do() -> None:
    case, device, weights = replace(random_case(Random(1)), height=400, width=100), this_device(), 1 << 20
    least = striped_plan(case, device, 8, 8, 1 << 40, weights).plan.predicted_peak
    with pytest.raises(BudgetError, match=r"or use \d+ workers") as raised:
        striped_plan(case, device, 1, 1, least, weights)
    enough = int(raised.value.advice.split("use ")[1].split()[0])
    assert 1 < enough <= 8
    striped_plan(case, device, enough, enough, least, weights)


@pytest.mark.parametrize(
    ("order", "stripes", "said"),
    [
        (Order("encode", "demo", "a.png", "a.npz", disk_limit="1GB"), None, "disk_limit"),
        (Order("decode", "demo", "a.npy", "a.png", preview=True), None, "preview"),
        *((Order("decode", "demo", "a.npy", "a.png", quality=each), None, each.name) for each in (Tiles(), Stream())),
        (Order("decode", "demo", "a.npy", "a.png", quality=Sampled()), None, "sampled"),
        (Order("decode", "demo", "a.npy", "a.png", work="w"), None, "work"),
        (Order("decode", "demo", "a.npy", "a.png"), 0, "stripes must be"),
        (Order("decode", "demo", "a.npy", "a.png"), 1 << 40, "stripes must be"),
        (Order("decode", "demo", "a.npy", "a.png", budget="much"), None, "a budget must be an amount"),
    ],
)
def test_what_stripes_cannot_do_is_refused_before_anything_is_read(
    order: Order, stripes: int | None, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        run_striped(order, None, stripes)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"order": "x"}, "order must be an Order"),
        *(({"client": each}, r"client must be a distributed\.Client") for each in (None, [1])),
        ({"client": SimpleNamespace(submit=None, asynchronous=True)}, "client is asynchronous"),
        *(({"allow": each}, "allow must be a list") for each in (5, None, "versions", {"versions"})),
        *(({"allow": [each]}, "allow must name some of versions, kernels") for each in ("weights", 5, np.zeros(2))),
        ({"progress": np.zeros(2)}, "progress must be"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_read(wrong: dict[str, Any], said: str) -> None:
    right = {"order": Order("decode", "demo", "a.npy", "a.png"), "client": Gone()}
    with pytest.raises(InputError, match=said):
        run_striped(**{**right, **wrong})
    if "allow" in wrong:
        with pytest.raises(InputError, match=said):
            decode_many([], **wrong)


class Gone:
    """A client of Dask's that was closed."""

    def submit(self) -> None:
        """Take no task."""

    def wait_for_workers(self, *args: object, **options: object) -> None:
        raise RuntimeError("the client is closed")


@pytest.mark.slow
def test_a_client_that_was_closed_is_told_in_words_of_this_package() -> None:
    pytest.importorskip("distributed", reason="the extra zvae-tiled[cluster] is not installed")
    with pytest.raises(ClusterError, match="the cluster does not answer: RuntimeError"), crew(Gone(), []):
        pass
