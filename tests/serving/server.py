"""A real Triton server with models of this repository, as `scripts/triton` starts it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil
import pytest

from tests.support.running import ROOT

MODEL = ROOT / "serving" / "triton" / "vae_decoder"

DECOUPLED = "model_transaction_policy { decoupled: true }\n"
TWICE = "instance_group [ { count: 2 kind: KIND_CPU } ]\n"
"""Lines of a config: rows are sent as they are finished; two processes decode."""

PATIENCE = 60.0
"""Seconds that a server has for its end: one was seen to hang on its way out."""


def add_model(repository: Path, name: str, more: str = "", **parameters: str | Path) -> None:
    """Copy the model under another name, with other parameters, and with more lines in its config."""
    config = (MODEL / "config.pbtxt").read_text().replace('"vae_decoder"', f'"{name}"')
    for key, value in {"dtype": "float32", **parameters}.items():
        config = re.sub(rf'parameters: {{ key: "{key}" .*\n', "", config)
        config += f'parameters: {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n'
    if "instance_group" in more:
        config = re.sub(r"instance_group .*\n", "", config)
    shutil.copytree(MODEL / "1", repository / name / "1", ignore=shutil.ignore_patterns("__pycache__"))
    (repository / name / "config.pbtxt").write_text(config + more)


def warm_up() -> str:
    """Return the lines of a config that docs/guides/triton.md gives for warming up."""
    page = (ROOT / "docs" / "guides" / "triton.md").read_text()
    return page[page.index("model_warmup [") :].partition("```")[0]


class Server:
    """A server that runs, with its ports; leaving it sends SIGTERM."""

    def __init__(self, repository: Path, log: Path) -> None:
        pytest.importorskip("tritonclient", reason="a run of all slow tests; .ci/run installs it")
        self.http, self.grpc, self.metrics_port = free_ports(3)
        self.log = log
        ports = {"http": self.http, "grpc": self.grpc, "metrics": self.metrics_port}
        options = [f"--{door}-{what}" for door, port in ports.items() for what in ("address=127.0.0.1", f"port={port}")]
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [ROOT / "scripts" / "triton", repository, *options, "--exit-timeout-secs=5"],
                env={**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""},
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Server:
        while not self.ready():
            assert self.process.poll() is None, f"the server ended:\n{self.log.read_text()}"
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> int:
        """Send SIGTERM, wait for the end, and return the exit code: that of SIGKILL if it hangs on its way out."""
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(PATIENCE)
        self.process.kill()
        return self.process.wait()

    def ready(self) -> bool:
        """Whether the server and all its models are ready, and its metrics, which may be later."""
        return self.get(self.http, "v2/health/ready") is not None and self.get(self.metrics_port, "metrics") is not None

    def get(self, port: int, page: str) -> str | None:
        """Return a page, or None if there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}") as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError):
            return None

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's values with these labels."""
        page = self.get(self.metrics_port, "metrics")
        assert page is not None
        lines = [line for line in page.splitlines() if line.startswith(name + "{")]
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(each in line for each in wanted))

    def processes(self) -> list[psutil.Process]:
        """Return the server's process and those of its models."""
        return of_server(self.process.pid)

    def memory(self) -> int:
        """Return the bytes that these processes hold alone."""
        return sum(process.memory_full_info().uss for process in self.processes())


def of_server(pid: int) -> list[psutil.Process]:
    """Return a server's process and those of its models, without the shells that watch them."""
    own = psutil.Process(pid)
    return [own, *(child for child in own.children() if child.name().startswith("triton"))]


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
