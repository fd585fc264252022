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
_hushes: list[ExitStack] = []
"""What undoes the first `hushed` of those that run now, and an empty one for each other."""


@contextmanager
def hushed() -> Iterator[None]:
    """Let Dask log nothing while the block runs: what it has to say, this package says in its own words.

    Blocks may run in several threads. Dask speaks again when the last one has ended.
    """
    distributed()  # before its loggers are looked for
    with _hushing:
        _hushes.append(ExitStack() if _hushes else _silence())
        warnings.filterwarnings("ignore", module="distributed")  # again, for the caller may have reset what is ignored
        warnings.filterwarnings("ignore", "Creating scratch directories")  # said from the module contextlib
    try:
        yield
    finally:
        with _hushing:
            if len(_hushes) == 1:
                _hushes[0].close()
            _hushes.pop()


def _silence() -> ExitStack:
    """Disable the loggers of Dask. Return what undoes it, and what is ignored from now on."""
    undo = ExitStack()
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in ("distributed", "tornado")]
    for logger in map(logging.getLogger, (*names, "asyncio")):
        undo.callback(setattr, logger, "disabled", logger.disabled)
        logger.disabled = True
    undo.enter_context(warnings.catch_warnings())
    return undo
