"""What the tests of `adapters.diffusers` share. torch is imported late: these tests are collected without it, too."""

from __future__ import annotations

from typing import Any

import pytest

MARKS = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' Euler scheduler
]
NAMES = ("FLUX", "FLUX.2", "Z-Image", "SD 3", "SDXL", "Qwen-Image", "SANA")
BUDGET = "1GB"


def pipeline(name: str) -> tuple[Any, dict[str, Any]]:
    import torch

    from tests.peers.pipelines import PIPELINES

    torch.manual_seed(0)
    return PIPELINES[name]()


def picture(*arguments: Any, **more: Any) -> Any:
    from tests.peers import pipelines

    return pipelines.picture(*arguments, **more)


def far(found: Any, wanted: Any) -> float:
    """The largest difference between two arrays."""
    return float(abs(found - wanted).max())
