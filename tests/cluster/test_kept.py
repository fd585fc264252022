"""Runs leave nothing in workers and in their scheduler: a cluster that carries out thousands of them does not grow."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.places import orders
from zvae_tiled.cluster import Overall, decode_many, run_striped
from zvae_tiled.cluster.crew import crew
from zvae_tiled.cluster.extra import hushed
from zvae_tiled.cluster.likeness import likeness
from zvae_tiled.cluster.local import local_workers
from zvae_tiled.cluster.names import left_seat, taken_seat
from zvae_tiled.errors import ClusterError
from zvae_tiled.order import Order

distributed = pytest.importorskip("distributed", reason="the extra zvae-tiled[cluster] is not installed")
pytestmark = pytest.mark.slow

KEPT = (
    "distributed.lock.Lock",
    "tornado.ioloop.PeriodicCallback",
    "zvae_tiled.cluster.membership.Member",
    "zvae_tiled.cluster.membership.Membership",
    "zvae_tiled.cluster.share.Share",
)
"""Types of Dask's, and of ours, of which a worker has some for a run."""

FEW = 2
"""Objects that may be there for a moment. Eight runs are carried out."""


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with local_workers(2) as client:
        yield client


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
    real, before = client.list_datasets, [()]
    monkeypatch.setattr(client, "list_datasets", lambda **more: before.pop() if before else real(**more))
    client.publish_dataset("other", name="zvae-0")
    try:
        assert taken_seat(client, "own") == "zvae-1"
        client.sync(left_seat, client, "own", "zvae-1")
        assert client.list_datasets() == ("zvae-0",)
    finally:
        for seat in ("zvae-0", "zvae-1"):
            client.unpublish_dataset(seat)


def test_a_free_name_is_not_looked_for_for_ever(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "list_datasets", lambda **more: ())
    client.publish_dataset("other", name="zvae-0")
    try:
        with pytest.raises(ClusterError, match="others took it"):
            taken_seat(client, "own")
    finally:
        client.unpublish_dataset("zvae-0")


def test_what_a_run_has_sent_ends_with_it(client: Any) -> None:
    with hushed(), crew(client, ()) as members:
        sent = [members.submit(str(number), "no worker", time.sleep, 0.1) for number in range(9)]
    assert not any(members.name in str(key) for key in client.run_on_scheduler(_tasks))
    assert {future.status for future in sent} <= {"cancelled", "finished"}
    assert client.list_datasets() == ()


def test_a_worker_computes_nothing_for_a_run_that_it_is_no_member_of(client: Any) -> None:
    assert "is no member of" in client.submit(_strange, pure=False).result(timeout=60)


def test_a_worker_whose_run_ends_while_it_compares_itself_takes_no_orders(client: Any) -> None:
    assert set(client.run(_late).values()) == {False}


async def _late(dask_worker: Any) -> bool:
    """Let a worker join a run that it was told has ended; return whether it takes its orders."""
    from zvae_tiled.cluster.membership import MEMBERS, Membership

    await Membership("ended", "zvae-9", (), likeness(()), {}, (), 0).setup(dask_worker)
    return "ended" in MEMBERS or bool(dask_worker.state.total_resources["zvae-9"])


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
    kept = {
        "resources": dask_scheduler.resources,
        "locks": dask_scheduler.extensions["semaphores"].max_leases,
        "spans": dask_scheduler.extensions["spans"].spans,
        "topics": dask_scheduler._broker._topics,
        "plugins": dask_scheduler.worker_plugins,
        "tasks": dask_scheduler.tasks,
    }
    return {name: len(each) for name, each in kept.items()}


def _tasks(dask_scheduler: Any) -> list[Any]:
    return list(dask_scheduler.tasks)


def _strange() -> str:
    """Let a worker compute for a run that it was never told of; return what it says."""
    from zvae_tiled.cluster.membership import member_of

    try:
        member_of("strange")
    except ClusterError as error:
        return str(error)
    return ""


def _counted() -> dict[str, int]:
    gc.collect()
    names = [f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects()]
    return {name: names.count(name) for name in KEPT}
