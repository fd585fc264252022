"""A striped job writes its file, whatever becomes of the workers once the picture is finished."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.cluster.stripes.test_bytes import Small, planned
from tests.support.striped import Here
from zvae_tiled.cluster.crew import Crew
from zvae_tiled.cluster.stripes.job import StripedDecode
from zvae_tiled.cluster.stripes.sweep import Engine
from zvae_tiled.cluster.stripes.workers import Workers
from zvae_tiled.devices.here import kernels_for, this_device
from zvae_tiled.errors import ClusterError
from zvae_tiled.inputs.latents import read_latents
from zvae_tiled.jobs.decode import Decode
from zvae_tiled.jobs.job import Terms, norms
from zvae_tiled.wording import size


class Gone(Here):
    """Workers that compute, and end before they say how much memory they used."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def peak(self) -> int:
        raise self._error


@pytest.mark.parametrize("error", [ClusterError("all workers were lost"), RuntimeError("Dask: all workers were lost")])
def test_a_finished_picture_is_written_though_no_worker_says_how_much_memory_it_used(
    error: Exception, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = Small(Random(2), "float32", "decode")
    plan, vae = planned(case, 3), case.vae
    chain, inputs = plan.plan.case.chain, read_latents(case.given, case.config)
    engine = Engine(chain, kernels_for(this_device(vae.dtype), vae.dtype), vae.weights, norms(chain, vae.weights))
    hands: Any = Gone(error)
    job = StripedDecode(vae, inputs, True, Terms())
    job.stripe(plan, hands, lambda: engine)
    with caplog.at_level(logging.WARNING, "zvae_tiled"):
        report = job.write(str(tmp_path / "striped.npy"))
    assert report.measured_peak == 0
    assert f"0 bytes measured, of each worker's part of the budget, {size(report.budget)}\n" in str(report)
    assert "all workers were lost" in caplog.text
    Decode(vae, inputs, True, Terms(plan=plan.plan)).write(str(tmp_path / "whole.npy"))
    assert (tmp_path / "striped.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


class Closed:
    """A client whose scheduler is gone."""

    def submit(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("the client is closed")


def test_a_scheduler_that_is_gone_when_a_task_is_sent_is_an_error_of_ours() -> None:
    pytest.importorskip("distributed", reason="the extra zvae-tiled[cluster] is not installed")
    crew = Crew(Closed(), "run", "seat", 1)
    with pytest.raises(ClusterError, match="RuntimeError: the client is closed"):
        crew.submit("peak", "tcp://a:1", len, ())


class Busy:
    """A crew whose workers carry out other work."""

    name = "run"

    def __init__(self) -> None:
        self.answer: Future[list[int]] = Future()

    def submit(self, *_: Any) -> None:
        """Take a task, which is never carried out."""

    def gathering(self, _: Any) -> Future[list[int]]:
        return self.answer


def test_workers_that_carry_out_other_work_are_not_waited_for_to_say_how_much_memory_they_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zvae_tiled.cluster.stripes.workers.FIGURE", 0.01)
    crew: Any = Busy()
    none: Any = None
    hands = Workers(crew, none, ["tcp://a:1"], none, 2)
    with pytest.raises(ClusterError, match="did not say it within"):
        hands.peak()
    assert crew.answer.cancelled()
    crew.answer = Future()
    crew.answer.set_result([7])
    assert hands.peak() == 7
