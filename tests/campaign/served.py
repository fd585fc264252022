"""A Triton server that ends with the process that started it: ``python -m tests.campaign.served FOLDER``.

It prints its ports and its process as JSON, once its models are ready.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from tests.campaign.held import Held, held
from tests.serving.models import FLUX
from tests.serving.server import DECOUPLED, TWICE, Server, add_model, of_server
from tests.support.running import ROOT, environment, save_vae

NEEDS = "a Triton server (scripts/triton installs it), tritonclient, and this tree installed into the Python that runs"


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Attributes:
        http: Its port for HTTP.
        grpc: Its port for gRPC.
        pid: Its process.
        ends: Once this is closed, the server ends.
    """

    http: int
    grpc: int
    pid: int
    ends: IO[str]

    def held(self) -> Held:
        """Return what the server's process and those of its models hold together."""
        each = [held(process.pid) for process in of_server(self.pid)]
        return {name: sum(one[name] for one in each) for name in each[0]}


def serve(folder: Path) -> Served:
    """Start a server with files in this folder. It outlives a signal to this process's group, to end in order."""
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.served", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env=environment(),
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, (folder / "errors").read_text()[-4000:]
    return Served(**json.loads(line), ends=process.stdin)


@cache
def can_serve() -> bool:
    """Return whether this machine has what a server needs. The server is installed if it can be."""
    if find_spec("tritonclient") is None:
        return False
    # The models' process finds packages by the Python alone: it must find this tree.
    words = [sys.executable, "-I", "-c", "import zvae_tiled; print(zvae_tiled.__path__[0])"]
    found = Path(subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip())
    if found.resolve() != (ROOT / "zvae_tiled").resolve():
        return False
    installs = subprocess.run(
        [ROOT / "scripts" / "triton"], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, check=False
    )
    return installs.returncode == 0


def main(folder: Path) -> None:
    """Serve until standard input is closed."""
    vae, repository = save_vae(folder / "vae", FLUX), folder / "models"
    add_model(repository, "whole", TWICE, vae=vae, budget="1GB")
    add_model(repository, "rows", DECOUPLED, vae=vae, budget="20MB")
    with Server(repository, folder / "log") as server:
        print(json.dumps({"http": server.http, "grpc": server.grpc, "pid": server.process.pid}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
