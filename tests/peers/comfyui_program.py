"""Starts a checkout of ComfyUI with the nodes in it, and talks to it as a browser does."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.support.checkpoints import vae_rows
from tests.support.models import random_tensors
from tests.support.running import ROOT, environment

WIDTHS = (128, 256, 512, 512)
"""ComfyUI knows this width only."""


def furnish(base: Path) -> None:
    """Make the folders of a ComfyUI: the nodes, a VAE, and latents of a small and of a larger picture."""
    for name in ("custom_nodes", "models/vae", "input", "output"):
        (base / name).mkdir(parents=True)
    (base / "custom_nodes" / "zvae_tiled").symlink_to(ROOT / "integrations" / "comfyui")
    rows = vae_rows(WIDTHS, latent=16, quant=False)
    shapes = {row.original: row.shape + (1, 1) * (len(row.shape) == 2) for row in rows}  # attention is of convolutions
    tensors = random_tensors(shapes)
    save_file(tensors, base / "models" / "vae" / "random.safetensors")
    rng, marker = np.random.default_rng(0), {"latent_format_version_0": np.zeros(0, np.float32)}
    for name, shape in (("a", (2, 16, 20, 28)), ("larger", (1, 16, 96, 96))):
        values = rng.standard_normal(shape).astype(np.float32)
        save_file({"latent_tensor": values, **marker}, base / "input" / f"{name}.latent")


class Program:
    """A ComfyUI that is running, through its HTTP interface."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._address + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def start(self, workflow: dict[str, Any]) -> str:
        extra = {"extra_pnginfo": {"workflow": {"nodes": sorted(workflow)}}}
        return str(self.ask("/prompt", {"prompt": workflow, "extra_data": extra})["prompt_id"])

    def end(self, prompt: str) -> Any:
        while not (history := self.ask(f"/history/{prompt}")):
            time.sleep(0.2)
        return history[prompt]

    def run(self, workflow: dict[str, Any]) -> Any:
        return self.end(self.start(workflow))


@contextmanager
def running(checkout: Path, base: Path) -> Iterator[Program]:
    """Start ComfyUI on the CPU, without a browser, and stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "main.py", "--cpu", "--disable-api-nodes", "--listen", "127.0.0.1", "--port", str(port)]
    words += ["--base-directory", str(base), "--database-url", "sqlite:///:memory:"]
    with (base / "log").open("wb") as log:
        process = subprocess.Popen(
            words, cwd=checkout, stdout=log, stderr=subprocess.STDOUT, env=environment(PYTHONWARNINGS="default")
        )
    try:
        program = Program(port)
        while process.poll() is None:
            try:
                program.ask("/object_info/ZvaeDecode")
                break
            except urllib.error.URLError:
                time.sleep(0.5)
        else:
            raise SystemExit(f"ComfyUI ended:\n{(base / 'log').read_text()}")
        yield program
    except BaseException:
        print((base / "log").read_text(), file=sys.stderr)
        raise
    finally:
        process.terminate()
        process.wait()
