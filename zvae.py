"""The command `zvae`, and ``python -m zvae``: from its first moment on, Ctrl-C and closed streams end it with words.

It imports nothing before `main` runs: the package takes half a second, and Ctrl-C would print a traceback meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import NoReturn

INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    fill_closed_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell ignores it for a command with &
        signal.signal(signal.SIGINT, _end)
    from zvae_tiled.cli.app import zvae

    zvae(prog_name="zvae")


def fill_closed_streams() -> None:
    """Open closed standard streams on the null device: else the next file would be opened in their place.

    A library that prints a warning to standard error would then write it into the picture.
    """
    for handle, name, way in ((0, "stdin", os.O_WRONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, way)  # the lowest free number
            if name == "stdout":  # it can only be read, so that printing fails, and is not taken for a success
                sys.stdout = os.fdopen(handle, "w", closefd=False)


def _end(*_: object) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
