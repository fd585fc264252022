"""Runs a function in a fork, and says how it ended, also if that was a crash.

The parent imports MLX and never uses it, so it may fork: a decode costs a fork, not the start of a program.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

Ended = dict[str, Any]
"""What a function says of how it ended: at least `ended`, in a word, and `said`, with more."""


def in_fork(act: Callable[[], Ended]) -> Ended:
    """Return what `act` returns in a fork; if it does not return, that it `died`, and of what."""
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.dup2(errors.fileno(), 2)
            _act(act, told.fileno())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        told.seek(0)
        text = told.read()
        if code == 0:
            found: Ended = json.loads(text)
            return found
        errors.seek(0)
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return {"ended": "died", "said": f"{errors.read().decode(errors='replace')[-6000:]}\n{name}"}


def _act(act: Callable[[], Ended], told: int) -> None:
    code = 1
    faulthandler.enable()
    try:
        os.write(told, json.dumps(act()).encode())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
