"""Lets every worker read a plugin of ours. Dask ends one that cannot, as it starts: it may lack this package.

The source of this file is sent, and compiled there: cloudpickle would send what one version of Python compiled. So
nothing of this package is used here.
"""

from __future__ import annotations

import inspect
import logging
import pickle
import sys
from collections.abc import Callable
from typing import Any

from distributed import WorkerPlugin


class Stranger(WorkerPlugin):
    """Leaves a worker alone that cannot read a plugin."""

    def __init__(self, seat: str, error: Exception) -> None:
        """Take the name of the resource that members have, and why this worker can be none."""
        self._seat = seat
        self._why = f"{type(error).__name__}: {error}"

    async def setup(self, worker: Any) -> None:
        """Say that it takes no orders. Dask's scheduler fails at one that has no number of the resource."""
        logging.getLogger("zvae_tiled").warning("%s takes no orders: %s", worker.address, self._why)
        await worker.set_resources(**{self._seat: 0})


def read(packed: bytes, seat: str) -> WorkerPlugin:
    """Return the plugin that was packed, or a `Stranger` if this process cannot read it."""
    try:
        kind, options = pickle.loads(packed)
        plugin: WorkerPlugin = kind(*options)
        return plugin
    except Exception as error:
        return Stranger(seat, error)


def anywhere(
    kind: type[WorkerPlugin], options: tuple[Any, ...], seat: str
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return what `__reduce__` returns of a plugin that every worker can read.

    Args:
        kind: The plugin's class.
        options: The arguments with which it is made.
        seat: The name of the resource that members have.
    """
    source, names = inspect.getsource(sys.modules[__name__]), {"__name__": __name__}
    given = {"source": source, "names": names, "packed": pickle.dumps((kind, options)), "seat": seat}
    return eval, ("exec(source, names) or names['read'](packed, seat)", given)
