"""`--plan` from a pipe: what is written into it is read, and where nobody writes nothing is waited for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from zvae_tiled import plan
from zvae_tiled.cli.plans import plan_text
from zvae_tiled.errors import PlanError


@pytest.fixture(scope="module")
def text() -> str:
    return plan("z-image", 512, 512, "1GB").to_json()


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A pipe, and its end for writing."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    yield str(tmp_path / "pipe"), os.open(tmp_path / "pipe", os.O_WRONLY)
    os.close(reader)


def test_a_pipe_into_which_nobody_writes_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PlanError, match="pipe cannot be read as a plan: it is a pipe into which nothing is written"):
        plan_text(str(tmp_path / "pipe"))


def test_what_a_process_has_written_is_read(text: str, pipe: tuple[str, int]) -> None:
    path, end = pipe
    os.write(end, text.encode())
    os.close(end)
    assert plan_text(path) == text


def test_a_process_that_has_the_pipe_open_is_waited_for(
    text: str, pipe: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, end = pipe

    def write() -> None:
        os.write(end, text.encode())
        os.close(end)

    def waiting(handle: int, blocking: bool, real: object = os.set_blocking) -> None:
        assert callable(real)
        real(handle, blocking)
        thread.start()

    thread = Thread(target=write)
    monkeypatch.setattr(os, "set_blocking", waiting)
    assert plan_text(path) == text
    thread.join()
