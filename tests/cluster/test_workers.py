"""Workers of Dask on this machine: the same bytes as this process, whatever happens to the workers on the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from threading import Thread, Timer
from typing import Any
from unittest.mock import Mock

import pytest

from tests.cluster.places import die_once_written, fill, orders, pictures
from zvae_tiled import demo
from zvae_tiled.cluster import Overall, Row, decode_many, introductions
from zvae_tiled.cluster.extra import hushed
from zvae_tiled.cluster.local import SETTINGS, local_workers
from zvae_tiled.devices.native_cpu.choice import native_status
from zvae_tiled.errors import BudgetError, ClusterError, LatentsError, WeightsError
from zvae_tiled.order import Order

pytest.importorskip("distributed", reason="the extra zvae-tiled[cluster] is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two workers for all tests. Tests kill some of them; they are started again."""
    with local_workers(2) as client:
        yield client


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: Any) -> Path:
    client.wait_for_workers(2, timeout=300)
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    Path("here").mkdir()
    return tmp_path


def test_workers_write_the_bytes_that_this_process_writes(place: Path, client: Any) -> None:
    told: list[Overall] = []
    rows = decode_many(orders("out"), client, manifest="m.jsonl", progress=told.append)
    here = decode_many(orders("here"))
    assert pictures("out") == pictures("here")
    assert [row.state for row in rows] == [row.state for row in here]
    assert (str(rows[2].error), type(rows[2].error)) == (str(here[2].error), LatentsError)
    assert {row.worker for row in rows if row.worker} <= set(client.scheduler_info()["workers"])
    assert len(Path("m.jsonl").read_text().splitlines()) == len(rows)
    assert told[-1].done == 1


def test_a_worker_has_its_part_of_the_budget_and_of_the_cores(place: Path, client: Any) -> None:
    order = Order("decode", "vae", "3.npy", "out/3.png", budget="100MB")
    (row,) = decode_many([order], client)
    assert row.report["budget"] == 50_000_000
    cores = native_status().threads
    assert set(client.run(_threads).values()) == {max(1, cores // 2)}
    (small,) = decode_many([replace(order, budget="1MB")], client)
    assert isinstance(small.error, BudgetError)
    (enough,) = decode_many([replace(order, budget=f"{small.error.needed}B")], client)
    assert enough.state == "done"


def test_the_first_worker_of_a_cluster_is_waited_for(place: Path) -> None:
    with _cluster(0) as (cluster, client):
        Timer(1.0, cluster.scale, [1]).start()
        assert [row.state for row in decode_many(orders("out")[:1], client)] == ["done"]


def test_one_more_worker_of_a_machine_takes_no_orders_and_one_that_is_started_again_does(place: Path) -> None:
    """The budget of the machine is shared by those that were there when the work began."""
    from zvae_tiled.cluster.crew import crew

    with _cluster(1) as (cluster, client), crew(client, [(str(demo.FOLDER), None, "bfloat16")]) as members:
        (first,) = members.members()
        cluster.scale(2)
        client.wait_for_workers(2, timeout=300)
        _until(lambda: all(client.run(_introduced).values()))
        assert set(members.members()) == {first}
        resources = [each["resources"] for at, each in client.scheduler_info()["workers"].items() if at != first]
        assert resources == [{members.seat: 0}]
        os.kill(client.run(os.getpid, workers=[first])[first], signal.SIGKILL)
        _until(lambda: set(members.members()) - {first})
        assert len(set(members.members()) - {first}) == 1


def test_a_worker_that_carries_out_other_work_is_waited_for(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However long that takes: it has no time of its own until the other work has ended."""
    begun, end, looks = place / "begun", place / "end", list[bool]()

    with _cluster(1) as (_, client):
        other = client.submit(_hold, str(begun), str(end), pure=False)
        _until(lambda: begun.exists() and all(_executing(client)))
        with monkeypatch.context() as patch:

            def looked(*options: Any, look: Any = introductions._does_other_work) -> bool:
                looks.append(look(*options))
                if len(looks) == 3:
                    patch.setattr(introductions, "INTRODUCTION", 600.0)  # a busy machine may take long to introduce it
                    end.touch()
                return looks[-1]

            patch.setattr(introductions, "INTRODUCTION", -1.0)
            patch.setattr(introductions, "_does_other_work", looked)
            assert [row.state for row in decode_many(orders("out")[:1], client)] == ["done"]
        other.result(timeout=600)
        assert looks[:3] == [True] * 3
        assert caplog.text.count("carries out other work: it is waited for") == 1
        client.run(_say_nothing)
        monkeypatch.setattr(introductions, "INTRODUCTION", -1.0)
        with pytest.raises(ClusterError, match="does not answer"):
            decode_many(orders("out")[:1], client)


def _hold(begun: str, end: str) -> None:
    """Say that a task has begun, and end it when a file is there."""
    Path(begun).touch()
    while not Path(end).exists():
        time.sleep(0.1)


def _executing(client: Any) -> list[int]:
    """Return how many tasks each worker has said that it executes."""
    workers = client.scheduler_info()["workers"].values()
    return [each["metrics"].get("task_counts", {}).get("executing", 0) for each in workers]


def _say_nothing() -> None:
    """Let this worker take long to say what it is."""
    membership: Any = import_module("zvae_tiled.cluster.membership")
    membership.likeness = lambda _: time.sleep(60)


@contextmanager
def _cluster(workers: int, **more: Any) -> Iterator[tuple[Any, Any]]:
    """A cluster whose number of workers can be changed, and a client."""
    from distributed import Client, LocalCluster

    options: dict[str, Any] = {"memory_limit": 0, "dashboard_address": "127.0.0.1:0", "silence_logs": 50, **more}
    with (
        hushed(),
        LocalCluster(n_workers=workers, threads_per_worker=1, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield cluster, client


def _introduced(dask_worker: Any) -> bool:
    """Return whether this worker's plugins are all set up."""
    return any(name.startswith("zvae-") for name in dask_worker.plugins) and dask_worker.status.name == "running"


def _until(holds: Callable[[], object]) -> None:
    ends = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.5)


def test_workers_of_other_versions_are_refused_or_allowed_by_name(place: Path, client: Any) -> None:
    address = min(client.scheduler_info()["workers"])
    client.run(_pretend, "mlx 99", workers=[address])
    try:
        with pytest.raises(ClusterError, match=r"versions: .*99"):
            decode_many(orders("out"), client)
        assert not pictures("out")
        assert decode_many(orders("out")[:1], client, allow=["versions"])[0].state == "done"
    finally:
        client.run(_pretend, None, workers=[address])


def test_weights_that_a_worker_does_not_have_are_refused(place: Path, client: Any) -> None:
    import shutil

    client.run(_forget_folder, str(place / "vae"))
    try:
        with pytest.raises(WeightsError, match="worker tcp://"):
            decode_many(orders("out"), client)
    finally:
        client.run(_forget_folder, None)
    shutil.rmtree("out")


def test_a_worker_that_is_killed_loses_no_picture_and_none_is_written_twice(place: Path, client: Any) -> None:
    struck(client, signal.SIGKILL)


def test_a_worker_that_is_stopped_loses_no_picture_and_none_is_written_twice(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETTINGS, "distributed.scheduler.worker-ttl", "8s")  # not 30 s
    with local_workers(2) as client:
        struck(client, signal.SIGSTOP)


def test_the_only_worker_is_killed_and_started_again_at_the_same_address(place: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    import dask

    slowly = dask.config.set({"distributed.deploy.lost-worker-timeout": "60s"})  # this machine may be busy
    with slowly, _cluster(1, worker_port=port) as (_, client):
        addresses = set(client.scheduler_info()["workers"])
        struck(client, signal.SIGKILL)
        assert set(client.scheduler_info()["workers"]) == addresses == {f"tcp://127.0.0.1:{port}"}


def test_a_worker_that_reads_its_weights_for_long_is_not_taken_for_lost(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask says no word for a worker that is started again, until its plugins are set up."""
    from tests.cluster.stripes.mishaps import ReadsForLong

    monkeypatch.setitem(SETTINGS, "distributed.scheduler.worker-ttl", "4s")
    with local_workers(1) as client:
        client.register_plugin(ReadsForLong(10))
        struck(client, signal.SIGKILL)


def test_a_worker_that_is_lost_while_members_are_made_does_not_end_the_run(
    place: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = client.register_plugin

    def lost(plugin: Any) -> None:
        """As Dask's broadcast: the error of one worker comes while others still become members."""
        beginning = Thread(target=register, args=(plugin,))
        beginning.start()
        threads.append(beginning)
        raise OSError("a worker was lost")

    threads: list[Thread] = []
    monkeypatch.setattr(client, "register_plugin", lost)
    assert [row.state for row in decode_many(orders("out")[:1], client)] == ["done"]
    threads[0].join()
    monkeypatch.setattr("zvae_tiled.cluster.crew.WAIT", 3.0)
    for error, problem in ((OSError("all were lost"), "OSError: all were lost"), (ValueError("broken"), "broken")):
        monkeypatch.setattr(client, "register_plugin", Mock(side_effect=error))
        with pytest.raises(ClusterError, match=f"the workers cannot be prepared: .*{problem}"):
            decode_many(orders("here")[:1], client)


def struck(client: Any, number: signal.Signals) -> None:
    """Decode six pictures, send a signal to a worker on the way, and watch the files."""
    latents = [Path(f"cat-{each}.npy") for each in range(6)]
    for path in latents:
        _save_cat(path)
    wanted = [Order("decode", str(demo.FOLDER), str(path), f"out/{path.stem}.png") for path in latents]
    pids, hit, seen = client.run(os.getpid), list[int](), dict[str, os.stat_result]()

    def strike(overall: Overall) -> None:
        for path in Path("out").iterdir():
            seen.setdefault(path.name, path.stat())
        if overall.done > 0.1 and not hit:
            hit.append(min(pids.values()))
            os.kill(hit[0], number)

    rows = decode_many(wanted, client, progress=strike)
    assert hit
    assert [row.state for row in rows] == ["done"] * len(wanted)
    assert len({Path(order.target).read_bytes() for order in wanted}) == 1
    after = {path.name: path.stat() for path in Path("out").iterdir()}
    assert after.keys() == {Path(order.target).name for order in wanted}
    assert {name: after[name].st_ino for name in seen} == {name: was.st_ino for name, was in seen.items()}
    assert {name: after[name].st_mtime_ns for name in seen} == {name: was.st_mtime_ns for name, was in seen.items()}


def test_a_picture_whose_worker_died_before_it_could_say_so_is_not_written_again(place: Path, client: Any) -> None:
    client.run(die_once_written, str(place / "flag"))
    wanted = [order for order in orders("out") if order.source != "bad.npy"]
    rows = decode_many(wanted, client)
    assert Path("flag").exists()
    assert [row.state for row in rows] == ["done"] * len(wanted)
    assert [bool(row.report) for row in rows].count(False) == 1  # the one that a dead worker had written
    decode_many(orders("here"))
    assert pictures("out") == pictures("here")


def test_all_workers_killed_at_once_are_started_again_and_go_on(place: Path, client: Any) -> None:
    hit: list[int] = []

    def strike(_: Overall) -> None:
        if not hit:
            hit.extend(client.run(os.getpid).values())
            for pid in hit:
                os.kill(pid, signal.SIGKILL)

    _save_cat(place / "cat.npy")
    wanted = [Order("decode", str(demo.FOLDER), "cat.npy", f"out/{number}.png") for number in range(4)]
    assert [row.state for row in decode_many(wanted, client, progress=strike)] == ["done"] * 4
    assert hit


def test_orders_can_be_sent_again_after_the_run_was_ended(place: Path, client: Any) -> None:
    class Enough(Exception):
        pass

    def stop(overall: Overall) -> None:
        if overall.finished:
            raise Enough

    with pytest.raises(Enough):
        decode_many(orders("out"), client, manifest="m.jsonl", progress=stop)
    done = [json.loads(line) for line in Path("m.jsonl").read_text().splitlines()]
    assert done
    rows: list[Row] = decode_many(orders("out"), client)
    decode_many(orders("here"))
    assert [row.state for row in rows].count("failed") == 1
    assert pictures("out") == pictures("here")


def _threads() -> int:
    return native_status().threads


def _save_cat(path: Path) -> None:
    import numpy as np

    np.save(path, np.array(demo.latents("cat"))[:, :, :24, :24])


def _pretend(version: str | None) -> None:
    """Let this worker say that it has another version of the package."""
    likeness: Any = import_module("zvae_tiled.cluster.likeness")
    if version is None:
        likeness.versions = likeness._true_versions
    else:
        likeness._true_versions = likeness.versions
        likeness.versions = lambda: (*likeness._true_versions()[:1], version)


def _forget_folder(folder: str | None) -> None:
    """Let this worker find no weights."""
    likeness: Any = import_module("zvae_tiled.cluster.likeness")

    def missing(*_: object) -> str:
        raise WeightsError(f"{folder} does not exist")

    if folder is None:
        likeness._digest = likeness._true_digest
    else:
        likeness._true_digest = likeness._digest
        likeness._digest = missing
