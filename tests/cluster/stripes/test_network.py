"""One picture by two workers on two hosts, over a link of 1 Gbit a second that is cut: the same bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.hosts import HERE, THERE, Link, can_make_hosts, two_hosts
from tests.cluster.stripes.test_losses import ORDER, place, same_bytes, struck
from tests.support.running import environment
from zvae_tiled.cluster import run_striped
from zvae_tiled.cluster.local import connected

pytest.importorskip("distributed", reason="the extra zvae-tiled[cluster] is not installed")
pytestmark = pytest.mark.slow
__all__ = ["place"]


@pytest.fixture(scope="module")
def hosts() -> None:
    if not can_make_hosts():
        pytest.skip("network namespaces need Linux, root, ip and tc")


@pytest.fixture
def link(hosts: None) -> Iterator[Link]:
    with two_hosts() as link:
        yield link


def test_two_hosts_compute_the_bytes_of_one(place: Path, link: Link) -> None:
    with workers(place, link) as (client, _):
        report = run_striped(ORDER, client)
        assert {address.split(":")[1] for address in client.scheduler_info()["workers"]} == {f"//{HERE}", f"//{THERE}"}
    assert same_bytes()
    assert 0 < report.measured_peak <= report.predicted_peak <= report.budget


@pytest.mark.parametrize("what", ["cut", "down", "stopped"])
def test_a_host_that_is_out_of_reach_changes_no_byte(what: str, place: Path, link: Link) -> None:
    with workers(place, link) as (client, there):
        strikes = {"cut": link.cut, "down": link.down, "stopped": lambda: there.send_signal(signal.SIGSTOP)}
        struck(client, strikes[what])
    assert same_bytes()


@contextmanager
def workers(place: Path, link: Link) -> Iterator[tuple[Any, subprocess.Popen[bytes]]]:
    """A client of a scheduler here, with a worker on each host; and the process of the worker there."""
    file = place / "scheduler.json"
    common = ["--scheduler-file", str(file), "--no-dashboard"]
    options = [*common, "--nthreads", "1", "--memory-limit", "0", "--no-nanny"]
    with (
        dask(["scheduler", *common, "--host", HERE, "--port", "0"]) as scheduler,
        dask(["worker", *options, "--host", HERE]),
        dask(["worker", *options, "--host", THERE], link.enter) as there,
    ):
        while not file.exists():
            assert scheduler.poll() is None
        with connected(str(file)) as client:
            client.wait_for_workers(2, timeout=300)
            yield client, there


@contextmanager
def dask(words: list[str], enter: list[str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A command of Dask's in a process of its own, with docs/clusters.md's settings; a silent worker is lost soon."""
    settings = {
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "10s",
        "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
        "PYTHONWARNINGS": "ignore",
    }
    running = subprocess.Popen([*(enter or []), sys.executable, "-m", "dask", *words], env=environment(**settings))
    try:
        yield running
    finally:
        running.kill()
        running.wait()
