"""One picture on workers of Dask: the bytes of one process, within the budget of each worker."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.families.test_dc import SMALL
from tests.support.models import random_images, random_latents
from tests.support.running import process, save_vae
from tests.support.waiting import wait
from zvae_tiled import demo
from zvae_tiled.cluster import run_striped
from zvae_tiled.cluster.crew import Crew, crew
from zvae_tiled.cluster.extra import hushed
from zvae_tiled.cluster.local import local_workers
from zvae_tiled.errors import BudgetError, InputError
from zvae_tiled.families import Task
from zvae_tiled.families.dc import DCConfig
from zvae_tiled.order import Order, run
from zvae_tiled.report.progress import Progress

pytest.importorskip("distributed", reason="the extra zvae-tiled[cluster] is not installed")
pytestmark = pytest.mark.slow

ORDER = Order("decode", str(demo.FOLDER), "cat.npy", "striped.png")

WIDE = replace(SMALL, encoder_block_out_channels=(64, 128), decoder_block_out_channels=(64, 128), attention_head_dim=64)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two workers for all tests."""
    with local_workers(2) as client:
        yield client


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: Any) -> Path:
    client.wait_for_workers(2, timeout=300)
    monkeypatch.chdir(tmp_path)
    np.save("cat.npy", np.array(demo.latents("cat"))[:, :, :16, :14])
    run(Order("decode", str(demo.FOLDER), "cat.npy", "whole.png"))
    return tmp_path


def same_bytes() -> bool:
    return Path("striped.png").read_bytes() == Path("whole.png").read_bytes()


@pytest.mark.parametrize("stripes", [None, 1, 3, 7])
def test_workers_compute_the_bytes_that_one_process_computes(place: Path, client: Any, stripes: int | None) -> None:
    told: list[Progress] = []
    report = run_striped(ORDER, client, stripes, progress=told.append)
    assert same_bytes()
    assert report.exact
    assert 0 < report.measured_peak <= report.predicted_peak <= report.budget
    assert [each.done for each in told] == sorted(each.done for each in told)
    assert told[-1].done == 1


def test_workers_say_how_often_they_asked_each_other_for_rows(place: Path, client: Any) -> None:
    members = Crew(client, "", "", 2)
    until = time.monotonic() + 60  # they say it about once a second
    while not all(each.asked for each in members.work().values()) and time.monotonic() < until:
        run_striped(ORDER, client)  # again, for a slow machine may have given all of it to one worker
    assert [each.asked > 0 for each in members.work().values()] == [True, True]


def test_workers_say_what_they_compute_for_a_run(tmp_path: Path, client: Any) -> None:
    """Not what they compute for others. The tasks end when both workers have said what they compute."""
    end, told = tmp_path / "end", set[tuple[int, int]]()
    client.wait_for_workers(2, timeout=300)
    with hushed(), crew(client, ()) as members:
        one, other = sorted(members.members())
        heard: dict[str, set[float]] = {one: set(), other: set()}

        def listen() -> int:
            for at, each in members.members().items():
                heard[at].add(each.heard)
            work = members.work()
            told.add((work[one].computes, work[other].computes))
            return min(map(len, heard.values()))

        listen()
        own = members.submit("0", one, hold, str(tmp_path / "own"), str(end))
        strange = client.submit(hold, str(tmp_path / "strange"), str(end), workers=[other], pure=False)
        wait(lambda: (tmp_path / "own").exists() and (tmp_path / "strange").exists(), 600)
        heard.update({one: set(), other: set()})
        wait(lambda: listen() > 2, 600)  # of these words the first is older than the tasks, and so may be the second
        end.touch()
        own.result(timeout=600)
        strange.result(timeout=600)
    assert told == {(0, 0), (1, 0)}


def hold(begun: str, end: str) -> None:
    """Say that a task has begun, and end it when a file is there."""
    Path(begun).touch()
    while not Path(end).exists():
        time.sleep(0.1)


@pytest.mark.parametrize("target", ["striped.npz", "striped.npy"])
def test_workers_encode_what_one_process_encodes(place: Path, client: Any, target: str) -> None:
    order = Order("encode", str(demo.FOLDER), "picture.npy", target, crop=True, sample=5)
    whole = replace(order, target=f"whole{Path(target).suffix}")
    np.save("picture.npy", np.random.default_rng(0).random((99, 70, 3), np.float32))
    report = run_striped(order, client)
    run(whole)
    assert Path(target).read_bytes() == Path(whole.target).read_bytes()
    assert 0 < report.measured_peak <= report.predicted_peak <= report.budget


@pytest.mark.parametrize(("task", "stripes"), [("decode", None), ("decode", 7), ("encode", 3)])
def test_workers_add_up_linear_attentions_as_one_process_does(
    place: Path, client: Any, task: Task, stripes: int | None
) -> None:
    save_vae(place / "sana", SMALL)
    given = random_latents(SMALL, 9, 7) if task == "decode" else random_images(SMALL, 9, 7)[0]
    np.save("given.npy", abs(given) % 1)
    order = Order(task, "sana", "given.npy", "striped.npy")
    report = run_striped(order, client, stripes)
    run(replace(order, target="whole.npy"))
    assert Path("striped.npy").read_bytes() == Path("whole.npy").read_bytes()
    assert 0 < report.measured_peak <= report.predicted_peak <= report.budget


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much memory was used")
@pytest.mark.parametrize("task", ["decode", "encode"])
@pytest.mark.parametrize("config", [None, WIDE])
def test_the_processes_of_workers_stay_within_the_budget(
    place: Path, client: Any, task: Task, config: DCConfig | None
) -> None:
    from tests.cluster.stripes.mishaps import forget, mark

    vae = str(demo.FOLDER if config is None else save_vae(place / "sana", config))
    rng, order = np.random.default_rng(0), Order(task, vae, "large.npy", "large.npz")
    channels, scale = (np.load("cat.npy").shape[1], 8) if config is None else (config.latent_channels, config.scale)
    if task == "decode":
        order = replace(order, target="large.png")
        np.save(order.source, rng.standard_normal((1, channels, 96, 64), np.float32))
    else:
        np.save(order.source, rng.random((96 * scale, 64 * scale, 3), np.float32))
    run_striped(order, client)  # what a worker runs for the first time takes memory that is no picture's
    before = client.run(forget)
    report = run_striped(order, client)
    grown = {at: peak - before[at] for at, peak in client.run(mark, "VmHWM").items()}
    assert len(grown) == 2
    assert all(before.values())
    for took in grown.values():  # it may be nothing: a process keeps what an earlier picture took
        assert report.plan.weights + took <= report.predicted_peak, (grown, str(report))


def test_a_budget_that_is_too_small_is_refused_before_work(place: Path, client: Any) -> None:
    with pytest.raises(BudgetError) as raised:
        run_striped(replace(ORDER, budget="2MB"), client)
    assert not Path("striped.png").exists()
    report = run_striped(replace(ORDER, budget=f"{raised.value.needed}B"), client)
    assert report.measured_peak <= report.budget == raised.value.needed // 2
    assert same_bytes()


def test_a_batch_is_refused(place: Path, client: Any) -> None:
    np.save("cat.npy", np.concatenate([np.load("cat.npy")] * 2))
    with pytest.raises(InputError, match="the batch has 2"):
        run_striped(ORDER, client)


def test_the_command_writes_the_same_file_and_no_manifest(place: Path) -> None:
    words = ["decode", "cat.npy", "-o", "striped.png", "--vae", "demo", "--workers", "2", "--stripes"]
    done = process(words)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert same_bytes()
    assert {path.name for path in place.iterdir()} == {"cat.npy", "striped.png", "whole.png"}
