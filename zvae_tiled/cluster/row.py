"""`Row`: what became of one order. `Overall`: the progress of all of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from zvae_tiled.errors import ZvaeError

State = Literal["done", "failed"]


@dataclass(frozen=True)
class Row:
    """What became of one order.

    Attributes:
        source: The file that was read.
        targets: The files that were asked for. A batch's are numbered.
        state: ``done`` or ``failed``.
        error: Why it failed.
        worker: The address of the worker; empty if it ran in this process.
        seconds: How long it took, with reading and writing.
        report: The report's plain values, as `Report.to_dict` returns them, without the timeline. Empty if it failed,
            or if a worker that was lost had written the files.
    """

    source: str
    targets: tuple[str, ...]
    state: State
    error: Exception | None = None
    worker: str = ""
    seconds: float = 0.0
    report: dict[str, Any] = field(default_factory=dict)

    def to_json(self, time: str) -> str:
        """Return the row as a line of a manifest.

        Args:
            time: When it was written.
        """
        error = None if self.error is None else {"type": type(self.error).__name__, "problem": problem_of(self.error)}
        values = {"time": time, "state": self.state, "source": self.source, "targets": self.targets, "error": error}
        figures = {"worker": self.worker, "seconds": round(self.seconds, 3), "report": self.report}
        return json.dumps(values | figures)


def problem_of(error: Exception) -> str:
    """Return what is wrong, without advice."""
    return error.problem if isinstance(error, ZvaeError) else str(error) or type(error).__name__


@dataclass(frozen=True)
class Overall:
    """The progress of many orders.

    Attributes:
        done: Share of the pixels that are done, from 0 to 1.
        finished: Orders that are done or have failed.
        count: All orders.
        workers: Workers that take orders now.
        seconds: Time since the start.
    """

    done: float
    finished: int
    count: int
    workers: int
    seconds: float
