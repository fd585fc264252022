"""A decode in a forked process is refused at once if it would hang, and works if it would not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.running import environment
from zvae_tiled.devices.table import likely_device

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

LIMIT = 120
"""Seconds after which a process is taken to hang and is killed. Each needs a few."""

PREPARED = """
import multiprocessing, os, sys, threading
import numpy as np
from tests.support.models import random_vae, random_images
from zvae_tiled import VAE, calibrate, decode_tiled, read_latent_file, set_default_vae, write_latent_file
from zvae_tiled.errors import ForkError
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.order import Order, run

CONFIG = AutoencoderKLConfig(block_out_channels=(4, 4), norm_num_groups=2, latent_channels=4)
LATENTS = np.ones((1, 4, 3, 3), np.float32)
"""
"""Imports and constants: no computation by MLX."""

IN_CHILD = """
def in_child(work):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
            told = "computed"
        except ForkError as error:
            told = "refused" if "spawn" in str(error) else str(error)
        except BaseException as error:
            told = repr(error)
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    return os.read(reading, 1000).decode()
"""


def told(code: str, tmp_path: Path) -> list[str]:
    """Run code in a process of its own; it is killed, with its children, if it hangs."""
    # Python 3.12 warns of forks beside threads: this test needs such a fork.
    words = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PREPARED + IN_CHILD + code]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    child = subprocess.Popen(words, cwd=tmp_path, env=environment(), process_group=0, **pipes)
    try:
        out, errors = child.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, 9)
        child.communicate()
        pytest.fail("it hangs")
    assert child.returncode == 0, errors
    return str(out).split()


def test_every_door_is_closed_in_the_fork_of_a_process_that_computed(tmp_path: Path) -> None:
    code = """
from tests.support.models import save_random
from zvae_tiled.inputs.latents import read_latents
from zvae_tiled.inputs.images import read_images
vae = random_vae(CONFIG)
np.save("latents.npy", LATENTS)
save_random(CONFIG, "vae.safetensors")
rows = vae.stream(np.ones((1, 4, 40, 3), np.float32), budget="40MB")
next(rows)
prepared = vae.prepare(LATENTS)
images = random_images(CONFIG, 3, 3)
doors = [
    lambda: VAE.load("vae.safetensors", config=CONFIG),
    lambda: vae.decode(LATENTS),
    lambda: vae.decode_to_file(LATENTS, "a.png"),
    lambda: vae.stream(LATENTS),
    lambda: next(rows),
    lambda: vae.prepare(LATENTS),
    lambda: prepared.array(),
    lambda: prepared.write("a.png"),
    lambda: next(prepared.rows()),
    lambda: run(Order("decode", "vae.safetensors", "latents.npy", "a.png"), vae),
    lambda: vae.encode(images),
    lambda: decode_tiled(LATENTS, vae=vae),
    lambda: decode_tiled(LATENTS),
    lambda: calibrate(),
    lambda: read_latents(LATENTS, CONFIG),
    lambda: read_images(images, CONFIG),
    lambda: read_latent_file("latents.npy"),
    lambda: write_latent_file("b.npy", LATENTS),
]
print(*(in_child(door) for door in doors))
print(in_child(lambda: print(end=in_child(doors[1]) + "\\n", flush=True)))
vae.decode(LATENTS)
print(sorted(os.listdir()) == ["latents.npy", "vae.safetensors"])
"""
    assert told(code, tmp_path) == 18 * ["refused"] + ["refused", "computed", "True"]


@pytest.mark.slow
def test_mlx_used_without_this_package_counts(tmp_path: Path) -> None:
    code = """
import mlx.core as mx
mx.eval(mx.ones(3) + 1)
print(in_child(lambda: random_vae(CONFIG).decode(LATENTS)))
"""
    assert told(code, tmp_path) == ["refused"]


@pytest.mark.slow
def test_counters_that_were_set_back_hide_nothing(tmp_path: Path) -> None:
    code = """
import mlx.core as mx
from zvae_tiled.inputs.latents import read_latents
read_latents(LATENTS, CONFIG)
mx.clear_cache()
mx.reset_peak_memory()
assert not mx.get_active_memory() + mx.get_peak_memory() + mx.get_cache_memory()
print(in_child(lambda: random_vae(CONFIG).decode(LATENTS)))
"""
    assert told(code, tmp_path) == ["refused"]


@pytest.mark.skipif(likely_device() != "cpu", reason="on a GPU the import counts")
def test_the_fork_of_a_process_that_only_imported_computes_and_its_own_forks_are_looked_at(tmp_path: Path) -> None:
    code = """
import zvae_tiled.vae, zvae_tiled.jobs.decode

def decode():
    random_vae(CONFIG).decode(LATENTS)

def decode_and_fork():
    decode()
    print(in_child(decode), flush=True)

print(in_child(decode), flush=True)
print(in_child(lambda: print(end=in_child(decode) + "\\n", flush=True)), flush=True)
print(in_child(decode_and_fork), flush=True)
"""
    assert told(code, tmp_path) == ["computed", "computed", "computed", "refused", "computed"]


@pytest.mark.slow
def test_on_a_gpu_the_import_counts_and_mlx_is_not_asked(tmp_path: Path) -> None:
    code = """
import zvae_tiled.vae, zvae_tiled.devices.forks
import mlx.core as mx

def asked():
    os._exit("the fork set the GPU up")

zvae_tiled.devices.forks.likely_device = lambda: "cuda"
mx.get_active_memory = mx.get_peak_memory = mx.get_cache_memory = asked
print(in_child(lambda: random_vae(CONFIG).decode(LATENTS)))
"""
    assert told(code, tmp_path) == ["refused"]


@pytest.mark.parametrize(
    ("method", "want"),
    [("fork", "refused"), ("spawn", "computed"), pytest.param("forkserver", "computed", marks=pytest.mark.slow)],
)
@pytest.mark.sample(2)
def test_pools_of_every_start_method(method: str, want: str, tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(
        PREPARED
        + """
def decode(latents):
    try:
        return ("refused", "computed")[random_vae(CONFIG).decode(latents).shape == (1, 6, 6, 3)]
    except ForkError:
        return "refused"
"""
    )
    code = f"""
sys.path.insert(0, "")
from work import decode
if __name__ == "__main__":
    decode(LATENTS)
    with multiprocessing.get_context("{method}").Pool(1) as pool:
        print(pool.apply(decode, (LATENTS,)))
"""
    assert told(code, tmp_path) == [want]
