"""A file that is opened is closed once, at whatever instruction an interrupt comes."""

from __future__ import annotations

import os
import sys
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from zvae_tiled.files.opening import open_regular

OPEN = Path("/dev/fd")


def interrupted(path: Path, moment: int) -> bool:
    """Open a file, with an interrupt at this instruction. Return whether it came before the end."""
    left = moment

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code is not open_regular.__code__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        file, _ = open_regular(path)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    file.close()
    return False


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of a file that nobody has got yet
def test_an_interrupt_leaves_no_file_open_and_closes_none_twice(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    before, traced = os.listdir(OPEN), sys.gettrace()
    try:
        moments = next(moment for moment in count() if not interrupted(tmp_path / "a", moment))
    finally:
        sys.settrace(traced)
    assert moments > 30
    assert os.listdir(OPEN) == before
