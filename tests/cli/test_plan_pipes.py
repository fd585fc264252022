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

TEXT = plan("z-image", 512, 512, "1GB").to_json()


@pytest.fixture
def ends() -> Iterator[list[int]]:
    """A pipe's end for reading, and its other one, as a shell makes them for `<(…)`."""
    both = list(os.pipe())
    yield both
    for end in both:
        os.close(end)


def test_a_pipe_into_which_nobody_writes_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PlanError, match="pipe cannot be read as a plan: it is a pipe into which nothing is written"):
        plan_text(str(tmp_path / "pipe"))


def test_what_a_process_has_written_and_what_it_writes_later_is_read(ends: list[int]) -> None:
    os.write(ends[1], TEXT.encode())
    os.close(ends.pop())
    assert plan_text(f"/dev/fd/{ends[0]}") == TEXT


def test_a_process_that_has_the_pipe_open_is_waited_for(ends: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def write() -> None:
        os.write(end, TEXT.encode())
        os.close(end)

    def waiting(handle: int, blocking: bool, real: object = os.set_blocking) -> None:
        assert callable(real)
        real(handle, blocking)
        thread.start()

    end, thread = ends.pop(), Thread(target=write)
    monkeypatch.setattr(os, "set_blocking", waiting)
    assert plan_text(f"/dev/fd/{ends[0]}") == TEXT
    thread.join()
