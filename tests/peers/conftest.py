"""What tests of ComfyUI's nodes share. torch is imported by those tests alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zvae_tiled.families import PRESETS
from zvae_tiled.weights.modules import module_config


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """ComfyUI's modules, beside an empty folder for its output."""
    from tests.peers.comfyui_stand_in import Host

    (tmp_path / "output").mkdir()
    found = Host(tmp_path / "output")
    for name, module in found.modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return found


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Loads a VAE of a family. Its narrow config is a preset during the test."""
    from tests.peers.comfyui_stand_in import FAMILIES

    def load(family: str) -> Any:
        vae = FAMILIES[family]()
        monkeypatch.setitem(PRESETS, "narrow", vae.config or module_config(vae.first_stage_model.model))
        return vae

    return load
