"""Decodes by `zvae` that signals end, in forks of this process: it imports MLX and never uses it."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import zvae
import zvae_tiled.cli.app  # noqa: F401 (before any fork, for it takes half a second)
from tests.support.signals import default_signals
from zvae_tiled.engine import checkpoints
from zvae_tiled.sinks import png

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def decode(words: Sequence[str | Path], folder: Path, sent: Sequence[tuple[float, signal.Signals]] = ()) -> int:
    """Run `zvae` in a process of its own in a folder, and send it signals.

    Args:
        words: The arguments.
        folder: The folder in which it runs, and whose `temporary` has its temporary files.
        sent: Signals, each some seconds after the one before.

    Returns:
        The exit code; of a process that a signal ended, less than 0.
    """
    ready, begins = os.pipe()
    child = os.fork()
    if child == 0:
        _run(words, folder, begins)
    os.close(begins)
    os.read(ready, 1)  # it handles signals from here on
    os.close(ready)
    for seconds, number in sent:
        time.sleep(seconds)
        os.kill(child, number)  # not waited for yet, so there is no other process of this number
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _run(words: Sequence[str | Path], folder: Path, begins: int) -> None:
    code = 99
    try:
        default_signals()
        os.chdir(folder)
        (folder / "temporary").mkdir(exist_ok=True)
        os.environ["TMPDIR"] = str(folder / "temporary")
        os.dup2(os.open("told", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        checkpoints.SECONDS, checkpoints.SLOW, png.BLOCK = 0.0, 0.0, 1 << 10  # a note after each band, of each row
        os.write(begins, b".")
        sys.argv = ["zvae", *map(str, words)]
        zvae.main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 98
    except KeyboardInterrupt:  # before the command handles it, or after: Python would end itself by this signal
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
