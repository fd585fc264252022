"""``ZVAE_DEVICE``: the CPU on a machine with a GPU; any other value is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import mlx.core as mx
import pytest

from zvae_tiled.devices import here, table
from zvae_tiled.devices.named import unprobed_device
from zvae_tiled.devices.table import DEVICES, likely_device
from zvae_tiled.errors import InputError


def test_cpu_is_mlxs_default_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[mx.Device | mx.DeviceType] = []
    monkeypatch.setattr(mx, "set_default_device", asked.append)
    monkeypatch.setenv("ZVAE_DEVICE", "cpu")
    assert here.device_kind() == "cpu"
    assert asked == [mx.cpu]
    monkeypatch.delenv("ZVAE_DEVICE")
    here.device_kind()
    assert asked == [mx.cpu]


def test_plans_without_mlx_are_for_the_cpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere = tuple(replace(device, likely=lambda: True) for device in DEVICES.values())
    monkeypatch.setattr(table, "_TABLE", everywhere)
    monkeypatch.delenv("ZVAE_DEVICE")
    assert likely_device() == "cuda"
    monkeypatch.setenv("ZVAE_DEVICE", "cpu")
    assert likely_device() == "cpu"
    assert unprobed_device("float32").kind == "cpu"


@pytest.mark.parametrize("value", ["", "gpu", "CPU", "cuda"])
def test_other_values_are_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZVAE_DEVICE", value)
    with pytest.raises(InputError, match=f"ZVAE_DEVICE must be cpu, it is '{value}'"):
        here.device_kind()


def test_the_command_refuses_them_in_a_line() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "zvae_tiled.cli", "plan", "64x64", "--vae", "demo"],
        env={"ZVAE_DEVICE": "gpu", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, "Traceback" in run.stderr) == (3, False)
    assert "ZVAE_DEVICE must be cpu" in run.stderr
