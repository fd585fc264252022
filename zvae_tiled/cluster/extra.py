"""Imports Dask distributed, an optional package, and keeps its log and its warnings off the terminal."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from zvae_tiled.inputs.arrays import imported

INSTALL = "pip install 'zvae-tiled[cluster]'"


def distributed() -> Any:
    """Return the package `distributed`.

    Raises:
        MissingExtraError: It is not installed.
    """
    return imported("distributed", INSTALL)


_hushing = threading.Lock()
_blocks = 0
_undo = ExitStack()
"""What undoes the silence of all blocks."""


@contextmanager
def hushed() -> Iterator[None]:
    """Let Dask log nothing while the block runs: what it has to say, this package says in its own words.

    Blocks may run in several threads. Dask speaks again when the last one has ended.
    """
    global _blocks
    distributed()  # before its loggers are looked for
    with _hushing:
        if not _blocks:
            _undo.enter_context(warnings.catch_warnings())
        _blocks += 1
        _silence()
    try:
        yield
    finally:
        with _hushing:
            _blocks -= 1
            if not _blocks:
                _undo.close()


def _silence() -> None:
    """Disable the loggers of Dask, and ignore its warnings. Each block does so, for a caller may have reset them."""
    warnings.filterwarnings("ignore", module="distributed")
    warnings.filterwarnings("ignore", "Creating scratch directories")  # said from the module contextlib
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in ("distributed", "tornado")]
    for logger in map(logging.getLogger, (*names, "asyncio")):
        if not logger.disabled:
            _undo.callback(setattr, logger, "disabled", False)
            logger.disabled = True
