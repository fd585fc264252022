"""Amounts on the command line: a budget of more memory than this machine has is said, and is no error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.running import run
from zvae_tiled.cli.amounts import warn_above_memory
from zvae_tiled.planner.budget import Available

SAID = "warning    the budget is 64 GB, but this machine has 16 GB of memory"


@pytest.fixture(autouse=True)
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zvae_tiled.cli.amounts.machine_memory", lambda: Available(16 * 10**9))
    monkeypatch.setattr("zvae_tiled.cli.amounts.likely_device", lambda: "cpu")


def test_a_plan_says_that_this_machine_has_less() -> None:
    assert SAID in run("plan", "64", "--vae", "demo", "--budget", "64", "--device", "cpu/mlx").stderr


@pytest.mark.parametrize(
    ("budget", "device"), [("16GB", None), ("100%", None), ("1GB", "cpu"), (None, None), ("64GB", "metal")]
)
def test_what_this_machine_has_is_no_warning(
    budget: str | None, device: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is a budget of another machine."""
    warn_above_memory(budget, device)
    assert capsys.readouterr().err == ""


def test_a_decode_and_an_encode_say_so(place: Path) -> None:
    assert SAID in run("decode", "a.npy", "-o", "a.png", "--budget", "64GB").stderr
    told = run("encode", "a.png", "-o", "b.npy", "--budget", "64GB", "--crop").stderr
    assert SAID in told
    assert "exact: same latents as a full encode" in told


def test_a_container_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    limited = Available(10**9, "memory limit of this container")
    monkeypatch.setattr("zvae_tiled.cli.amounts.machine_memory", lambda: limited)
    warn_above_memory("2GB")
    assert "this machine has 1 GB of memory (memory limit of this container)" in capsys.readouterr().err


def test_a_bare_number_of_bytes_is_asked_about() -> None:
    assert "did you mean 8 (GB), or '8000000000B'" in run("plan", "64", "--budget", "8000000000", code=2).stderr
