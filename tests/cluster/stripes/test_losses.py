"""A striped picture whose workers are killed, frozen, cut off, or have other weights: the same bytes, or an error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import TINY_DC
from tests.support.running import CONFIG, environment, save_latents, save_vae
from zvae_tiled.cluster import run_striped
from zvae_tiled.cluster.local import SETTINGS, connected, local_workers
from zvae_tiled.errors import ClusterError
from zvae_tiled.order import Order, run
from zvae_tiled.report.progress import Progress

pytest.importorskip("distributed", reason="the extra zvae-tiled[cluster] is not installed")
pytestmark = pytest.mark.slow

ORDER = Order("decode", "vae", "latents.npy", "striped.png")

KILLS = 4
"""Tasks at which a worker is killed, from the first to the last. tests/cluster/stripes/test_graph.py tries each."""


@pytest.fixture
def client() -> Iterator[Any]:
    """Two workers. What one test does to them reaches no other test."""
    with local_workers(2) as client:
        yield client


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    monkeypatch.chdir(tmp_path)
    save_vae(tmp_path / "vae", getattr(request, "param", CONFIG))
    save_latents(tmp_path / "latents.npy", 12, 5)
    run(Order("decode", "vae", "latents.npy", "whole.png"))
    return tmp_path


def same_bytes() -> bool:
    return Path("striped.png").read_bytes() == Path("whole.png").read_bytes()


@pytest.mark.parametrize("place", [CONFIG, TINY_DC], ids=["attention", "linear attention"], indirect=True)
def test_a_worker_that_is_killed_at_a_task_changes_no_byte(place: Path, client: Any) -> None:
    from tests.cluster.stripes.mishaps import Dies, done

    client.register_plugin(Dies("never", 1 << 30))
    run_striped(ORDER, client)
    tasks = max(client.run(done).values())
    client.unregister_worker_plugin("dies")
    assert tasks > KILLS
    for nth in range(KILLS):
        client.wait_for_workers(2, timeout=300)
        flag = place / f"flag-{nth}"
        client.register_plugin(Dies(str(flag), 1 + nth * (tasks - 2) // (KILLS - 1)))
        run_striped(ORDER, client)
        client.wait_for_workers(2, timeout=300)
        client.unregister_worker_plugin("dies")
        assert flag.exists()
        assert same_bytes()
        Path("striped.png").unlink()


def struck(client: Any, strike: Callable[[], object], sweep: int = 4) -> None:
    """Decode, and let something happen after a sweep."""
    hit: list[object] = []

    def tell(progress: Progress) -> None:
        if progress.sweep >= sweep and not hit:
            hit.append(strike())

    try:
        run_striped(ORDER, client, progress=tell)
    finally:
        assert hit


def strike_all(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


def test_all_workers_killed_at_once_end_it_with_an_error(place: Path, client: Any) -> None:
    all_lost(client, signal.SIGKILL)


def all_lost(client: Any, number: signal.Signals) -> None:
    """All workers get a signal. They are started again, and an error says so; or the bytes are right all the same."""
    pids = client.run(os.getpid)
    try:
        struck(client, lambda: strike_all(pids.values(), number))
    except ClusterError as error:
        assert "all workers were lost at the same time" in error.problem
        assert error.advice == "Carry it out again."
        assert not Path("striped.png").exists()
    else:
        assert same_bytes()
    client.wait_for_workers(2, timeout=300)
    run_striped(ORDER, client)
    assert same_bytes()


def test_a_worker_that_is_frozen_changes_no_byte_and_all_of_them_end_it_with_an_error(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETTINGS, "distributed.scheduler.worker-ttl", "8s")  # not 30 s
    with local_workers(2) as client:
        pids = client.run(os.getpid)
        struck(client, lambda: os.kill(min(pids.values()), signal.SIGSTOP))
        assert same_bytes()
        Path("striped.png").unlink()
        client.wait_for_workers(2, timeout=300)
        all_lost(client, signal.SIGSTOP)


def test_workers_that_do_not_reach_each_other_end_it_with_an_error(
    place: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.cluster.stripes.mishaps import cut, mend

    monkeypatch.setattr("zvae_tiled.cluster.stall.STALL", 4.0)
    one, *others = sorted(client.scheduler_info()["workers"])
    client.run(cut, others, workers=[one])
    try:
        with pytest.raises(ClusterError, match="computed nothing and received nothing") as raised:
            run_striped(ORDER, client)
    finally:
        client.run(mend, workers=[one])
    assert "reach each other" in raised.value.advice
    assert not Path("striped.png").exists()


def test_weights_that_change_on_the_way_are_refused(place: Path, client: Any) -> None:
    new = save_vae(place / "new") / "diffusion_pytorch_model.safetensors"
    with pytest.raises(ClusterError, match=r"vae/[a-z_.]+ has changed on tcp://"):
        struck(client, lambda: os.replace(new, Path("vae") / new.name))  # at once: no task reads half a file
    assert not Path("striped.png").exists()
    run_striped(ORDER, client)  # it was written anew, with the same weights
    assert same_bytes()


def test_a_scheduler_that_is_frozen_ends_it_with_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ["--scheduler-file", str(place / "scheduler.json")]
    scheduler = ["scheduler", *file, "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    worker = ["worker", *file, "--nthreads", "1", "--memory-limit", "0", "--no-nanny", "--no-dashboard"]
    with dask(scheduler) as frozen, dask(worker):

        def freeze() -> None:
            for module in ("scheduler", "crew", "stripes.turn"):  # not before: a busy machine may answer late
                monkeypatch.setattr(f"zvae_tiled.cluster.{module}.ANSWER", 3.0)
            frozen.send_signal(signal.SIGSTOP)

        while not Path("scheduler.json").exists():
            assert frozen.poll() is None
        with (
            connected("scheduler.json") as client,
            pytest.raises(ClusterError, match="the scheduler does not answer") as raised,
        ):
            struck(client, freeze)
        assert "See whether it still runs" in raised.value.advice


@contextmanager
def dask(words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A command of Dask's in a process of its own."""
    running = subprocess.Popen([sys.executable, "-m", "dask", *words], env=environment(PYTHONWARNINGS="ignore"))
    try:
        yield running
    finally:
        running.kill()
        running.wait()
