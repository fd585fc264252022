"""torch in an interpreter of its own, which computes what this process orders, on one thread."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent


class Peer:
    """A child process that runs `benchmarks/torch_steps.py`.

    Attributes:
        version: torch's version.
    """

    def __init__(self, orders: IO[str], answers: IO[str]) -> None:
        """Write to the child's input, and read from its output."""
        self._orders, self._answers = orders, answers
        self.version: str = self._answer()

    def seconds(self, order: dict[str, Any]) -> float:
        """Run an order once. Return its processor time. Its first run is not counted."""
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()
        return float(self._answer())

    def _answer(self) -> Any:
        line = self._answers.readline()
        if not line:
            raise SystemExit("torch's process ended: its message is above")
        return json.loads(line)


@contextmanager
def started(python: str) -> Iterator[Peer]:
    """Start a child in another interpreter, which has torch. It ends with the block."""
    command, pipe = [python, "-m", "benchmarks.torch_steps"], subprocess.PIPE
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=variables) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        yield Peer(child.stdin, child.stdout)
