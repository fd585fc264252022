"""`zvae mflux` where mflux is not installed. tests/peers/test_mflux_adapter.py runs its commands."""

from __future__ import annotations

import signal
from contextlib import nullcontext
from importlib import metadata

import pytest

from tests.support.running import run
from zvae_tiled.cli import mflux
from zvae_tiled.cli.command import Failure, Interrupted
from zvae_tiled.wording import duration


def test_help_is_shown_without_mflux() -> None:
    assert "Run COMMAND of mflux" in run("mflux", "--help").output
    assert "Run COMMAND of mflux" in run("mflux", code=2).output


def test_mflux_has_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    assert "pip install mflux" in run("mflux", "mflux-generate", "--prompt", "x", code=3).stderr


def test_a_wrong_budget_is_refused_first() -> None:
    assert "'much' is no amount of memory" in run("mflux", "mflux-generate", "--budget", "much", code=2).stderr


def test_the_end_of_a_command_says_where_latents_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    for ended in (RuntimeError("out of memory"), KeyboardInterrupt()):
        ended.add_note("The latents are kept.")
        failure = Failure(ended, False, None) if isinstance(ended, Exception) else Interrupted(signal.SIGINT, ended)
        failure.show()
        assert "The latents are kept." in capsys.readouterr().err


def test_an_error_of_mflux_is_not_reported_to_us(monkeypatch: pytest.MonkeyPatch) -> None:
    def theirs() -> None:
        raise RuntimeError("no model of that name")

    def ours() -> None:
        duration("an error of this package")  # type: ignore[arg-type]

    monkeypatch.setattr(mflux, "_hooked", lambda *_: nullcontext())
    for raises in (theirs, ours):
        monkeypatch.setattr(mflux, "_entry", lambda _, raises=raises: raises)
        told = run("mflux", "mflux-generate", "--prompt", "x", code=6).stderr
        assert ("please report it" in told) == (raises is ours)
        assert ("Report it here only if mflux-generate alone works." in told) == (raises is theirs)
