"""What a worker does for one run. Dask's own figures are those of all that it computes, for anyone."""

from __future__ import annotations

from collections import Counter
from typing import Any


def doing(run: str, worker: Any) -> dict[str, int]:
    """Return what a worker does for a run. It says so with every word to the scheduler.

    Args:
        run: The run's name, with which its tasks' begin.
        worker: The worker, one of Dask's.
    """
    states = Counter(task.state for key, task in worker.state.tasks.items() if str(key).startswith(f"{run}-"))
    queued = states["ready"] + states["constrained"]  # behind a task of another run, if there is one
    computes = states["executing"] + (queued if worker.state.executing else 0)
    return {"computes": computes, "holds": states["memory"], "receives": states["flight"]}
