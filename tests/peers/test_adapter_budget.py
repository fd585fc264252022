"""The automatic budget of a VAE in a pipeline counts what the pipeline holds when a decode starts.

The machine of these tests has a fixed amount of memory, of which only this process takes some: what it really holds.
So other programs change nothing.
"""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests.peers.adapting import MARKS, pipeline
from zvae_tiled import VAE
from zvae_tiled.adapters.diffusers import use
from zvae_tiled.planner import budget

pytestmark = MARKS
MACHINE, HELD = 16 << 30, 400 << 20


@pytest.fixture
def budgets(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The budget of each decode, on a machine that only this process uses."""
    found = list[int]()
    decode = VAE.decode

    def reported(self: VAE, *arguments: Any, **options: Any) -> Any:
        pictures, report = decode(self, *arguments, return_report=True, **options)
        found.append(report.plan.budget)
        return pictures

    def memory() -> Any:
        return SimpleNamespace(available=MACHINE - psutil.Process().memory_info().rss)

    monkeypatch.setattr(VAE, "decode", reported)
    monkeypatch.setattr(psutil, "virtual_memory", memory)
    monkeypatch.setattr(budget, "memory_left", lambda proc: None)
    return found


def test_what_the_pipeline_holds_is_counted_until_it_is_freed(budgets: list[int]) -> None:
    import torch

    pipe, _ = pipeline("Z-Image")
    latents = torch.zeros(1, 16, 4, 4)
    use(pipe)
    pipe.vae.decode(latents)
    pipe.transformer.register_buffer("ballast", torch.ones(HELD // 4))
    pipe.vae.decode(latents)

    def free() -> None:
        del pipe.transformer.ballast
        gc.collect()

    use(pipe, free=free)
    pipe.vae.decode(latents)
    without, beside, freed = budgets
    share, noise = budget.SAFE_SHARE, 64 << 20
    assert abs(without - beside - share * HELD) < noise
    assert abs(without - freed) < noise
