"""Imports Dask distributed, an optional package, and keeps its log and its warnings off the terminal."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zvae_tiled.inputs.arrays import imported

INSTALL = "pip install 'zvae-tiled[cluster]'"


def distributed() -> Any:
    """Return the package `distributed`.

    Raises:
        MissingExtraError: It is not installed.
    """
    return imported("distributed", INSTALL)


@contextmanager
def hushed() -> Iterator[None]:
    """Let Dask log nothing while the block runs: what it has to say, this package says in its own words."""
    distributed()  # before its loggers are looked for
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in ("distributed", "tornado")]
    loggers = [logging.getLogger(name) for name in (*names, "asyncio")]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="distributed")
            warnings.filterwarnings("ignore", "Creating scratch directories")  # said from the module contextlib
            yield
    finally:
        for logger, state in zip(loggers, before, strict=True):
            logger.disabled = state
