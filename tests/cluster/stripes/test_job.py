"""A striped job writes its file, whatever becomes of the workers once the picture is finished."""

from __future__ import annotations

import logging
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.cluster.stripes.test_bytes import Small, planned
from tests.support.striped import Here
from zvae_tiled.cluster.stripes.job import StripedDecode
from zvae_tiled.cluster.stripes.sweep import Engine
from zvae_tiled.devices.here import kernels_for, this_device
from zvae_tiled.errors import ClusterError
from zvae_tiled.inputs.latents import read_latents
from zvae_tiled.jobs.decode import Decode
from zvae_tiled.jobs.job import Terms, norms
from zvae_tiled.wording import size


class Gone(Here):
    """Workers that compute, and end before they say how much memory they used."""

    def peak(self) -> int:
        raise ClusterError("all workers were lost")


def test_a_finished_picture_is_written_though_no_worker_says_how_much_memory_it_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = Small(Random(2), "float32", "decode")
    plan, vae = planned(case, 3), case.vae
    chain, inputs = plan.plan.case.chain, read_latents(case.given, case.config)
    engine = Engine(chain, kernels_for(this_device(vae.dtype), vae.dtype), vae.weights, norms(chain, vae.weights))
    hands: Any = Gone()
    job = StripedDecode(vae, inputs, True, Terms())
    job.stripe(plan, hands, lambda: engine)
    with caplog.at_level(logging.WARNING, "zvae_tiled"):
        report = job.write(str(tmp_path / "striped.npy"))
    assert report.measured_peak == 0
    assert f"0 bytes measured, of each worker's part of the budget, {size(report.budget)}\n" in str(report)
    assert "all workers were lost" in caplog.text
    Decode(vae, inputs, True, Terms(plan=plan.plan)).write(str(tmp_path / "whole.npy"))
    assert (tmp_path / "striped.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
