"""Everything that is read, where no plain file is: refused at once, and never waited for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from click.testing import CliRunner

from tests.campaign.places.tree import moved
from zvae_tiled import VAE, config_of, decode_tiled, plan, read_latent_file
from zvae_tiled.cli.app import zvae
from zvae_tiled.errors import InputError, ZvaeError
from zvae_tiled.order import Order, run
from zvae_tiled.planner.calibration import cache_folder, newest

INDEX = "vae/diffusion_pytorch_model.safetensors.index.json"


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.mkdir(parents=True)


def a_socket(path: Path) -> None:
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(path.parent)  # a socket's path has at most 108 letters
        listening.bind(path.name)
        os.chdir(here)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def nothing(path: Path) -> None:
    path.symlink_to("/dev/null")


def memory(path: Path) -> None:
    path.symlink_to("/proc/self/mem")


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to("gone")


def below_a_file(path: Path) -> None:
    path.symlink_to("real-latents.npy/x")


KINDS = (a_pipe, a_folder, a_socket, endless, nothing, memory, a_loop, a_link_to_nothing, below_a_file)

READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "weights": ("vae/diffusion_pytorch_model.safetensors", lambda path: VAE.load(path)),
    "the weights of a folder": ("vae/diffusion_pytorch_model.safetensors", lambda path: VAE.load("vae")),
    "an index": (INDEX, lambda path: VAE.load(path)),
    "a config": ("vae/config.json", lambda path: config_of(path)),
    "a config of plan": ("vae/config.json", lambda path: plan(f"{path}", 8, 8)),
    "latents": ("latents.npy", lambda path: read_latent_file(path)),
    "the latents of an order": ("latents.npy", lambda path: run(Order("decode", "vae", f"{path}", "out/a.npy"))),
    "the picture of an order": ("picture.npy", lambda path: run(Order("encode", "vae", f"{path}", "out/a.npy"))),
    "the VAE of decode_tiled": ("vae", lambda path: decode_tiled([[[[0.0]]]], vae=path)),
}
"""What reads, and the file in whose place something else is put."""


def refused_reading(reader: str, kind: Callable[[Path], None]) -> ZvaeError | None:
    """Put something in the place of a file, and read it."""
    name, read = READERS[reader]
    path = Path(name).absolute()
    if path.exists():
        moved(path)
    kind(path)
    try:
        read(path)
    except InputError as error:
        return error
    return None


def read_by_command(command: str, name: str, kind: Callable[[Path], None]) -> int:
    """Put something in the place of a file, and run a command that reads it; return its exit code."""
    path = Path(name).absolute()
    moved(path)
    kind(path)
    result = CliRunner().invoke(zvae, command.split())
    assert isinstance(result.exception, SystemExit | None), f"{result.exception!r}"
    assert "Unexpected error" not in result.output, result.output
    return result.exit_code


def ignored_calibration(kind: Callable[[Path], None]) -> None:
    """Put something among the calibrations: none is read, and none is waited for."""
    cache_folder().mkdir(parents=True)
    kind(cache_folder() / "calibration-cpu-a-device.json")
    assert newest("cpu", metadata.version("mlx")) is None
    plan("z-image", 64, 64, "10GB")
