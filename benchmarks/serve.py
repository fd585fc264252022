"""One Triton server, two FLUX decoders of random weights: ours and diffusers'. Run it with the peers' Python.

Prints a Markdown table: throughput, latency, and the memory of each model's process. The two take turns, round by
round. Ours has a warm-up (docs/guides/triton.md), so that its first request shows what that is good for.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.footprint import taken_by
from benchmarks.machine import describe
from benchmarks.tables import amount, table
from tests.serving.client import Client
from tests.serving.server import Server, add_model, warm_up
from tests.support.models import narrow, pack, random_latents
from tests.support.running import ROOT, save_vae
from zvae_tiled import config_of
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig

HEADS = ("model", "pictures a minute", "latency", "worst", "first", "peak of the process", "loaded")


@dataclass
class Model:
    """A model of the server, and what is measured of it.

    Attributes:
        name: Its name.
        start: Bytes of its process before its first request.
        first: Seconds of its first request.
        latencies: Seconds of the others.
        seconds: Duration of all rounds.
    """

    name: str
    start: int = 0
    first: float = 0.0
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def line(self, peak: int) -> list[str]:
        """Return the figures as cells."""
        rate = 60 * len(self.latencies) / self.seconds
        times = (statistics.median(self.latencies), max(self.latencies), self.first)
        return [self.name, f"{rate:.1f}", *(f"{each:.1f} s" for each in times), amount(peak), amount(self.start)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512, help="the picture's side in pixels")
    parser.add_argument("--requests", type=int, default=4, help="of each model in each round")
    parser.add_argument("--clients", type=int, default=2, help="at the same time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", default="2GB", help="ours; diffusers has none")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--narrow", action="store_true", help="a small decoder, to try this script")
    given = parser.parse_args()
    config = narrow("flux1") if given.narrow else config_of("flux1")
    assert isinstance(config, AutoencoderKLConfig)
    models = [Model("zvae_tiled"), Model("diffusers")]
    with tempfile.TemporaryDirectory() as folder:
        repository, vae = Path(folder, "models"), save_vae(Path(folder, "vae"), config)
        latent = f"{given.side // 8}, {given.side // 8}"
        for model, more in zip(models, (warm_up().replace("128, 128", latent), ""), strict=True):
            add_model(repository, model.name, more, vae=vae, budget=given.budget, dtype=given.dtype)
        shutil.copy(ROOT / "benchmarks" / "served_diffusers.py", repository / "diffusers" / "1" / "model.py")
        tokens = pack(random_latents(config, given.side // 8, given.side // 8))
        with Server(repository, Path(folder, "log")) as server:
            for model in models:
                forget(server)
                model.start = memory(server, model.name)
                _, (model.first,) = load(server, model.name, tokens, given.side, 1, 1)
            forget(server)
            for _ in range(given.rounds):
                for model in models:
                    took, each = load(server, model.name, tokens, given.side, given.requests, given.clients)
                    model.seconds += took
                    model.latencies += each
            print(f"{given.side}², {given.dtype}, {given.clients} clients, budget of ours {given.budget}\n")
            print(table(HEADS, [model.line(memory(server, model.name)) for model in models]))
            versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "diffusers"))
            print(f"\n{describe()}; {versions}; Triton 2.51, its own process {amount(taken_by(server.process.pid))}")


def load(
    server: Server, name: str, tokens: np.ndarray, side: int, requests: int, clients: int
) -> tuple[float, list[float]]:
    """Return the seconds of a load, and those of each request."""
    size = np.array([[side, side]])

    def ask(number: int) -> float:
        del number
        start = time.perf_counter()
        Client(server, "http").ask(name, latents=tokens, size=size)
        return time.perf_counter() - start

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        each = list(pool.map(ask, range(requests)))
    return time.perf_counter() - start, each


def forget(server: Server) -> None:
    """Reset the high-water marks, so that loading is not measured."""
    for each in server.processes():
        Path(f"/proc/{each.pid}/clear_refs").write_text("5")


def memory(server: Server, name: str) -> int:
    """Return the high-water mark of a model's process."""
    return sum(taken_by(each.pid) for each in server.processes() if f"/{name}/1/model.py" in " ".join(each.cmdline()))


if __name__ == "__main__":
    main()
