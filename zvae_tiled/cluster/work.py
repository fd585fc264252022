"""What a worker does with an order: carries it out once, on its part of the machine, and says how far it is."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from zvae_tiled.cluster.extra import distributed
from zvae_tiled.cluster.ready import Model, Ready
from zvae_tiled.cluster.row import Row, problem_of
from zvae_tiled.errors import BudgetError, ClusterError, OutputError
from zvae_tiled.jobs.orders import load
from zvae_tiled.jobs.preview import found_tiny
from zvae_tiled.order import Order, run
from zvae_tiled.report.progress import Listener, Progress
from zvae_tiled.sinks.deep_zoom import tiles_folder
from zvae_tiled.vae import VAE

ENDING = ("closing", "closed", "failed")
"""States of a worker that ends: the scheduler has forgotten it, or its process is being stopped."""

OFTEN = 0.5
"""Seconds between two reports of progress."""


@dataclass(frozen=True)
class Task:
    """An order for a worker.

    Attributes:
        run: The run's name.
        seat: The topic of its reports of progress.
        ready: The order.
        fresh: Whether there was nothing where it writes before the run. What a machine sees of a file is not
            compared with what another one sees: a network file system may show each of them another inode and time.
    """

    run: str
    seat: str
    ready: Ready
    fresh: bool


class Unwanted(BaseException):
    """The run was ended, or another worker has written the files. What is unfinished is removed on the way."""


def fresh(paths: Sequence[Path]) -> bool:
    """Return whether there is nothing of these names, no link either, nor of those of their folders of tiles."""
    folders = (tiles_folder(path) for path in paths if path.suffix.lower() == ".dzi")
    return not any(map(os.path.lexists, chain(paths, folders)))


def carry_out(task: Task) -> Row:
    """Carry out an order, unless a worker that was lost had done so. What goes wrong is in the row, not raised."""
    worker, key = distributed().get_worker(), distributed().worker.thread_state.key
    from zvae_tiled.cluster.membership import member_of

    start, order = time.perf_counter(), task.ready.order
    row = Row(order.source, tuple(order.targets), "done", worker=worker.address)
    try:
        member = member_of(task.run)
    except ClusterError as error:
        return replace(row, state="failed", error=error)
    try:
        if not _written(task):
            limited = member.share.limited(_exclusive(task))
            vae = held(limited)
            member.check_weights()  # after they were loaded, and again before the files get their names
            _check_tiny(limited, vae)
            report = run(limited, vae, _listener(task, worker, key, member.check_weights)).to_dict()
            del report["timeline"]
            row = replace(row, report=report)
    except BudgetError as error:
        row = replace(row, state="failed", error=member.share.told(error))
    except Unwanted:
        if not _written(task):
            row = replace(row, state="failed", error=RuntimeError("no longer wanted"))
    except Exception as error:
        if not (isinstance(error, OutputError) and _written(task)):  # else a worker that was thought lost was first
            row = replace(row, state="failed", error=portable(error))
    return replace(row, seconds=time.perf_counter() - start)


_held: tuple[Model, bool, VAE] | None = None
"""The VAE that this worker loaded last, with what names it and whether it only decodes."""
_loading = threading.Lock()


def held(order: Order) -> VAE:
    """Return the VAE of an order. A worker keeps one, until an order needs another, or its files have changed."""
    global _held
    wanted = (order.vae, order.config, order.dtype), order.task == "decode"
    with _loading:
        if _held is None or _held[:2] != wanted or any(source.changed for source in _held[2].sources):
            _held = None  # two VAEs never exist at the same time
            _held = *wanted, load(order)
        return _held[2]


def forget_held() -> None:
    """Free the VAE that is kept."""
    global _held
    with _loading:
        _held = None


def portable(error: Exception) -> Exception:
    """Return an error that can be sent: itself, or another one with its text. Its traceback stays here."""
    try:
        again = pickle.loads(pickle.dumps(error))
        if type(again) is type(error) and str(again) == str(error):
            return error
    except Exception:
        pass
    return RuntimeError(f"{type(error).__name__}: {problem_of(error)}")


def _check_tiny(order: Order, vae: VAE) -> None:
    """Refuse a preview by a tiny decoder that this worker alone would find: the client names the one that it finds."""
    found = found_tiny(vae) if order.preview and order.tiny is None else None
    if found is not None:
        problem = f"{found} is a tiny decoder that the machine which sent this preview does not have"
        raise ClusterError(problem, "Name a tiny decoder at a path that all machines have.")


def _exclusive(task: Task) -> Order:
    """Return an order that replaces no file which did not exist before the run, unless it left a part of its files."""
    exclusive = task.fresh and fresh(task.ready.paths)
    return replace(task.ready.order, overwrite=False) if exclusive else task.ready.order


def _written(task: Task) -> bool:
    """Return whether all files of an order were written since the run began. Files that it replaces may be old ones."""
    return task.fresh and all(map(os.path.exists, task.ready.paths))


def _listener(task: Task, worker: Any, key: str, check: Callable[[], None]) -> Listener:
    told = [0.0]

    def listen(progress: Progress) -> None:
        if not _wanted(worker, key) or (progress.done >= 1 and _written(task)):  # before the files get their names
            raise Unwanted
        if progress.done >= 1:
            check()
        if time.perf_counter() - told[0] > OFTEN:
            told[0] = time.perf_counter()
            worker.log_event(task.seat, {"run": task.run, "number": task.ready.number, "done": progress.done})

    return listen


def _wanted(worker: Any, key: str) -> bool:
    """Return whether Dask still waits for this: neither cancelled, nor is the worker about to close."""
    state = worker.state.tasks.get(key)
    return state is not None and state.state == "executing" and worker.status.name not in ENDING
