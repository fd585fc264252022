"""What the scheduler of a cluster is asked, with Dask's errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zvae_tiled.cluster.extra import distributed
from zvae_tiled.errors import ClusterError, ZvaeError

ANSWER = 30.0
"""Seconds that the scheduler has to answer."""


def workers_of(client: Any) -> dict[str, dict[str, Any]]:
    """Return what the scheduler knows of its workers, by their addresses."""
    with spoken("the scheduler does not answer"):
        info = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=ANSWER)
        return dict(info["workers"])


@contextmanager
def spoken(problem: str) -> Iterator[None]:
    """Turn Dask's errors into ours."""
    try:
        yield
    except ZvaeError:
        raise
    except Exception as error:
        advice = "See whether it still runs, and whether its version of Dask is the one here: "
        raise ClusterError(
            f"{problem}: {type(error).__name__}: {error}", f"{advice}{distributed().__version__}."
        ) from error
