"""`Workers`: carries the tasks of a striped picture out on the members of a crew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from zvae_tiled.cluster.crew import Crew
from zvae_tiled.cluster.stall import Stall
from zvae_tiled.cluster.stripes.tasks import sweep
from zvae_tiled.cluster.stripes.worker import limited, peak_of
from zvae_tiled.cluster.watch import LOOK, Watch, lost
from zvae_tiled.errors import ClusterError, ZvaeError
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.stripes import home

UNFINISHED = "the picture is unfinished"
"""What is left of the work."""

FIGURE = 10.0
"""Seconds that workers have to say how much memory they used: the finished picture has no name before."""


class Workers:
    """Members of a crew. A handle is a future of Dask's. Neighbouring stripes are computed by one worker."""

    def __init__(self, crew: Crew, watch: Watch, homes: Sequence[str], plan: Plan, stripes: int) -> None:
        """Give each worker stripes.

        Args:
            crew: The workers.
            watch: Who of them is a member.
            homes: The addresses of those that get stripes.
            plan: The plan of a worker.
            stripes: How many stripes there are.
        """
        self._crew = crew
        self._watch = watch
        self._plan = plan
        self._homes = [homes[home(stripe, stripes, len(homes))] for stripe in range(stripes)]

    def do(self, stripe: int, name: str, task: Callable[..., Any], *options: Any) -> Any:
        """Let a task be carried out by the worker that has a stripe. Return its future."""
        key, home, crew = f"{name}-{stripe}", self._homes[stripe], self._crew
        if task is not sweep:  # it passes on what is there, or copies a few rows
            return crew.submit(key, home, task, *options)
        return crew.submit(key, home, limited, crew.name, self._plan, task, *options)

    def get(self, handles: Sequence[Any]) -> list[Any]:
        """Return the results of tasks (see `fetched`)."""
        return fetched(self._crew, self._watch, handles)

    def peak(self) -> int:
        """Return the most bytes that a worker had in use.

        Raises:
            ClusterError: They do not say it within `FIGURE`: they carry out other work, or are gone.
        """
        homes, crew = sorted(set(self._homes)), self._crew
        gathering = crew.gathering([crew.submit(f"peak-{home}", home, peak_of, crew.name) for home in homes])
        try:
            peaks: list[int] = gathering.result(timeout=FIGURE)
        except TimeoutError as error:
            raise ClusterError(f"the workers did not say it within {FIGURE:.0f} s") from error
        except Exception as error:
            raise lost(error) from error
        finally:
            gathering.cancel()
        return max(peaks)


def fetched(crew: Crew, watch: Watch, futures: Sequence[Any]) -> list[Any]:
    """Wait for tasks, and return their results.

    Raises:
        ClusterError: All workers were lost, or the scheduler, or several workers in turn that computed the same task;
            or workers do not reach each other.
        ZvaeError: A task failed.
    """
    gathering, stall = crew.gathering(futures), Stall(crew)
    try:
        while True:
            try:
                return gathering.result(timeout=LOOK)
            except TimeoutError:
                if gathering.done():  # it was the task that raised this
                    raise
                if watch.look(UNFINISHED):
                    problem = "all workers were lost at the same time, and with them what they had computed"
                    raise ClusterError(problem, "Carry it out again.") from None
                if not all(future.done() for future in futures):  # else they are on their way here
                    stall.look(UNFINISHED)
    except ZvaeError:
        raise
    except Exception as error:
        raise lost(error) from error
    finally:
        gathering.cancel()
