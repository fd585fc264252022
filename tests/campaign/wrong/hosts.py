"""Stand-ins for what other programs hand over: a cluster, a pipeline of diffusers, a model of mflux."""

from __future__ import annotations

import atexit
import sys
from contextlib import ExitStack
from functools import cache
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest

from tests.support.models import random_tensors, torch_shapes
from tests.support.running import CONFIG
from zvae_tiled.adapters import mflux
from zvae_tiled.cluster.local import local_workers

SAVER = "mflux.callbacks.instances.memory_saver"

NEEDS = {"cluster.run_striped": ("distributed",), "diffusers.use": ("torch", "diffusers")}
"""What must be installed to try a function."""


def can_be_tried(name: str) -> bool:
    """Return whether what a function needs is installed."""
    return all(find_spec(each) for each in NEEDS.get(name, ()))


@cache
def client() -> Any:
    """Start a cluster of one worker once a process, and return its client."""
    held = ExitStack()
    atexit.register(held.close)
    return held.enter_context(local_workers(1))


def pipeline() -> Any:
    """Return a pipeline of diffusers, as far as one is asked for."""
    import diffusers

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return SimpleNamespace(vae=diffusers.AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=2, **blocks))


class Module:
    """A VAE of mflux, as far as one is asked for."""

    def state_dict(self) -> dict[str, mx.array]:
        return {name: mx.array(value) for name, value in random_tensors(torch_shapes(CONFIG)).items()}

    parameters = state_dict


def model(patch: pytest.MonkeyPatch) -> Any:
    """Return a model of mflux. Its VAE is taken for one that mflux has."""
    patch.setattr(mflux, "KINDS", {Module.__module__: "small"})
    patch.setattr(mflux, "PRESETS", {"small": CONFIG})
    saver = ModuleType(SAVER)
    vars(saver)["MemorySaver"] = lambda *_, **__: None
    names = SAVER.split(".")
    for end in range(1, len(names)):
        patch.setitem(sys.modules, ".".join(names[:end]), ModuleType(names[end - 1]))
    patch.setitem(sys.modules, SAVER, saver)
    callbacks: list[Any] = []
    return SimpleNamespace(vae=Module(), callbacks=SimpleNamespace(before_loop=callbacks, register=callbacks.append))
