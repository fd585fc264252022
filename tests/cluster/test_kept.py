"""Runs leave nothing in workers and in their scheduler: a cluster that carries out thousands of them does not grow."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.places import fill, orders
from zvae_tiled.cluster import Overall, decode_many, run_striped
from zvae_tiled.cluster.likeness import likeness
from zvae_tiled.cluster.local import local_workers
from zvae_tiled.cluster.names import leave_seat, taken_seat
from zvae_tiled.order import Order

distributed = pytest.importorskip("distributed", reason="the extra zvae-tiled[cluster] is not installed")
pytestmark = pytest.mark.slow

KEPT = (
    "distributed.lock.Lock",
    "tornado.ioloop.PeriodicCallback",
    "distributed.broker.Topic",
    "distributed.spans.Span",
    "zvae_tiled.cluster.membership.Membership",
    "zvae_tiled.cluster.share.Share",
)
"""Types of Dask's, and of ours, of which a run has some."""

FEW = 2
"""Objects that may be there for a moment. Eight runs are carried out."""


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with local_workers(2) as client:
        yield client


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    return tmp_path


def test_what_a_cluster_keeps_does_not_grow_with_the_runs(place: Path, client: Any) -> None:
    _all_sorts(client)
    before = _kept(client)
    for _ in range(4):
        _all_sorts(client)
    grown = {name: count - before[name] for name, count in _kept(client).items() if count > before[name] + FEW}
    assert not grown


def test_two_runs_at_once_have_names_of_their_own(place: Path, client: Any) -> None:
    told: list[set[str]] = []
    both = threading.Barrier(2, timeout=60)

    def run(number: int) -> None:
        def listen(overall: Overall) -> None:
            if not overall.finished and len(told) < 2:
                told.append(set(client.list_datasets()))
                both.wait()

        order = Order("decode", "vae", "0.npy", f"out/{number}.png")
        assert [row.state for row in decode_many([order], client, progress=listen)] == ["done"]

    threads = [threading.Thread(target=run, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in Path("out").iterdir()) == ["0.png", "1.png"]
    assert set.union(*told) == {"zvae-0", "zvae-1"}
    assert client.list_datasets() == ()


def test_a_name_that_another_run_takes_first_is_not_taken_twice(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = taken_seat(client, "first")
    monkeypatch.setattr(client, "list_datasets", tuple)  # as it was a moment ago
    second = taken_seat(client, "second")
    monkeypatch.undo()
    assert (first, second) == ("zvae-0", "zvae-1")
    leave_seat(client, first)
    assert taken_seat(client, "third") == first
    for seat in (first, second):
        leave_seat(client, seat)


def test_a_worker_whose_run_ends_while_it_compares_itself_takes_no_orders(client: Any) -> None:
    assert set(client.run(_late).values()) == {False}


async def _late(dask_worker: Any) -> bool:
    """Let a worker join a run that it was told has ended; return whether it takes its orders."""
    from zvae_tiled.cluster.membership import SHARES, Membership

    await Membership("ended", "zvae-9", (), likeness(()), {}, ()).setup(dask_worker)
    return "ended" in SHARES or "zvae-9" in dask_worker.state.total_resources


def _all_sorts(client: Any) -> None:
    """Let workers carry out orders, one of which fails, and stripes."""
    assert [row.state for row in decode_many(orders("out"), client)].count("failed") == 1
    run_striped(Order("decode", "vae", "0.npy", "out/striped.png"), client)


def _kept(client: Any) -> dict[tuple[str, str], int]:
    """Return how many things of each kind each process has."""
    told = {**client.run(_of_worker), "scheduler": client.run_on_scheduler(_of_scheduler)}
    return {(process, kind): count for process, each in told.items() for kind, count in each.items()}


def _of_worker(dask_worker: Any) -> dict[str, int]:
    digests = [key for key in dask_worker.digests_total if isinstance(key, tuple)]
    spans = {key[1] for key in digests if key[0] == "execute"}
    return {"resources": len(dask_worker.state.total_resources), "spans": len(spans), **_counted()}


def _of_scheduler(dask_scheduler: Any) -> dict[str, int]:
    return {
        "resources": len(dask_scheduler.resources),
        "semaphores": len(dask_scheduler.extensions["semaphores"].leases),
    }


def _counted() -> dict[str, int]:
    gc.collect()
    names = [f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects()]
    return {name: names.count(name) for name in KEPT}
