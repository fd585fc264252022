"""Memory that other programs take: a second plan where the budget follows the free memory, and an error that helps."""

from __future__ import annotations

import errno
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.support.leftovers import nothing_left
from tests.support.models import random_images, random_latents, random_vae
from tests.support.plans import bits, plan_for, with_rows
from tests.support.running import environment
from zvae_tiled import VAE
from zvae_tiled.devices.here import available as available_here
from zvae_tiled.devices.here import kernels_for, this_device
from zvae_tiled.errors import OutOfMemoryError, OutputError
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.jobs import decode, job
from zvae_tiled.planner.budget import Available
from zvae_tiled.sinks.deep_zoom import DeepZoom
from zvae_tiled.sinks.file import failed
from zvae_tiled.sinks.stream import StreamSink

CONFIG = AutoencoderKLConfig(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=2, latent_channels=3)
MODEL, LATENTS = random_vae(CONFIG), random_latents(CONFIG, 8, 6)
KERNELS = type(kernels_for(this_device(MODEL.dtype), MODEL.dtype))
RAISED: list[tuple[Callable[..., Exception], str]] = [
    (MemoryError, ""),
    (MemoryError, "99 bytes"),
    (RuntimeError, "[malloc] Unable to allocate 99 bytes."),
    (partial(OSError, errno.ENOMEM), "Cannot allocate memory"),
]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The memory that is free each time when it is asked for; the last of them from then on."""
    free = [1 << 31]
    monkeypatch.setattr(job, "available", lambda weights: Available(free[0] if len(free) == 1 else free.pop(0)))
    return free


def failing(
    monkeypatch: pytest.MonkeyPatch,
    times: int,
    kind: Callable[..., Exception] = MemoryError,
    said: str = "",
    healthy: int = 5,
) -> None:
    """Let memory run out in some convolutions, after so many healthy ones."""
    convolve, left = KERNELS.conv, [healthy, times]

    def conv(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0 < left[1]:
            left[1] -= 1
            raise kind(said)
        return convolve(*arguments)

    monkeypatch.setattr(KERNELS, "conv", conv)


def array(vae: VAE, folder: Path, **options: Any) -> bytes:
    return bits(vae.decode(LATENTS, **options))


def file(vae: VAE, folder: Path, **options: Any) -> bytes:
    vae.decode_to_file(LATENTS, folder / "a.png", **options)
    found = (folder / "a.png").read_bytes()
    (folder / "a.png").unlink()
    return found


def encoded(vae: VAE, folder: Path, **options: Any) -> bytes:
    return bits(vae.encode(random_images(CONFIG, 8, 6), **options).mean)


def streamed(vae: VAE, folder: Path, **options: Any) -> bytes:
    return b"".join(map(bits, vae.stream(LATENTS, **options)))


WAYS = [array, file, encoded, streamed]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("budget", [None, "60%"])
def test_it_plans_once_more_with_what_is_left_and_says_so(
    way: Callable[..., bytes],
    budget: str | None,
    machine: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    want, latents = way(MODEL, tmp_path, budget="1GB"), LATENTS.copy()
    machine[:] = [1 << 30, 1 << 29]
    failing(monkeypatch, 1, *RAISED[2])
    with nothing_left(tmp_path), caplog.at_level(logging.INFO, "zvae_tiled"):
        assert way(MODEL, tmp_path, budget=budget) == want
    said = [record.getMessage() for record in caplog.records]
    (warned,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert "memory ran out while" in warned
    assert "planning once more, with 537 MB available" in warned
    budgets = [line.partition(" of ")[2] for line in said if line.startswith("planned")]
    assert len(budgets) == len(set(budgets)) == 2, "the second plan is made for what is left"
    assert np.array_equal(LATENTS, latents)


def test_no_memory_even_to_see_what_is_left_is_our_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, 1)
    asked = [0]

    def available(held: int) -> Available:
        asked[0] += 1
        if asked[0] == 2:
            raise MemoryError
        return available_here(held)

    monkeypatch.setattr(job, "available", available)
    with pytest.raises(OutOfMemoryError, match="memory ran out while decoding"):
        file(MODEL, tmp_path)


@pytest.mark.parametrize(("place", "way"), [("available", "stream"), ("available", "encode"), ("targets_of", "webp")])
def test_no_memory_for_a_plan_is_our_error(
    place: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    ways: dict[str, Callable[[], object]] = {
        "stream": lambda: MODEL.stream(LATENTS),
        "encode": lambda: MODEL.encode(random_images(CONFIG, 8, 6)),
        "webp": lambda: MODEL.decode_to_file(LATENTS, tmp_path / "a.webp"),
    }
    monkeypatch.setattr(decode if place == "targets_of" else job, place, short)
    with pytest.raises(OutOfMemoryError, match="Cannot allocate"):
        ways[way]()


def test_a_deep_zoom_folder_is_removed_without_memory_to_list_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(self: DeepZoom) -> None:
        self._crew.finish()
        assert len(list(tmp_path.glob(".*/*/*.png"))) == 5, "all tiles are written"
        raise MemoryError

    monkeypatch.setattr(DeepZoom, "finish", finish)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(OutOfMemoryError):
        MODEL.decode_to_file(LATENTS, tmp_path / "a.dzi", budget="1GB")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("kind", "said"), RAISED)
def test_memory_that_runs_out_again_is_our_error(
    way: Callable[..., bytes],
    kind: Callable[..., Exception],
    said: str,
    machine: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing(monkeypatch, 2, kind, said)
    with nothing_left(tmp_path):
        problem = ""
        try:
            way(MODEL, tmp_path)
        except OutOfMemoryError as error:  # its frames hold memory, until it is dropped here
            problem = str(error)
    assert "coding" in problem
    assert said in problem
    assert "smaller budget=" in problem


def test_the_callers_own_budget_or_plan_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for options in ({"budget": "1GB"}, {"plan": plan_for(MODEL, LATENTS.shape, Random(0))}):
        with monkeypatch.context() as patch:
            failing(patch, 1)
            with pytest.raises(OutOfMemoryError, match="memory ran out while decoding"):
                file(MODEL, tmp_path, **options)


def test_what_a_file_object_was_given_is_not_written_once_more(
    machine: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = StreamSink.write, [MemoryError("99 bytes")]

    def written(sink: StreamSink, *rows: Any) -> None:
        write(sink, *rows)
        if failures:
            raise failures.pop()

    monkeypatch.setattr(StreamSink, "write", written)
    with pytest.raises(OutOfMemoryError, match="99 bytes"):
        MODEL.decode_to_file(LATENTS, BytesIO(), format="png")


def test_a_write_that_lacks_memory_is_no_full_disk() -> None:
    place = Path("a.png")
    assert isinstance(failed(place, OSError(errno.ENOMEM, "Cannot allocate memory")), OutOfMemoryError)
    assert isinstance(failed(place, OSError(errno.ENOSPC, "No space left on device")), OutputError)


def test_a_spill_that_lacks_memory_is_no_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = KERNELS.write, [OSError(errno.ENOMEM, "Cannot allocate memory")]

    def write(kernels: Any, *given: Any) -> None:
        if failures:
            raise failures.pop()
        real(kernels, *given)

    monkeypatch.setattr(KERNELS, "write", write)
    with pytest.raises(OutOfMemoryError, match="while maps were written to"):
        MODEL.decode(LATENTS, plan=plan_for(MODEL, LATENTS.shape, Random(0), ("disk",)))


def test_a_stream_goes_on_after_its_first_row_or_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = MODEL.stream(LATENTS, plan=with_rows(plan_for(MODEL, LATENTS.shape, Random(0)), 1))
    mx.eval(next(rows))
    failing(monkeypatch, 1, healthy=0)
    with pytest.raises(OutOfMemoryError, match="smaller budget="):
        list(map(mx.eval, rows))


def test_a_work_folder_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    want = file(MODEL, tmp_path)
    with monkeypatch.context() as patch:
        failing(patch, 1)
        with pytest.raises(OutOfMemoryError, match=r"decode again: .*work keeps what is done"):
            file(MODEL, tmp_path, work=tmp_path / "work")
    assert (tmp_path / "work" / "journal").exists()
    assert file(MODEL, tmp_path, work=tmp_path / "work") == want


def test_other_errors_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, 1, RuntimeError, "a memory of why")
    with pytest.raises(RuntimeError, match="a memory of why"):
        MODEL.decode(LATENTS)


CRAMPED = """
import resource, sys
import mlx.core as mx
import psutil
from tests.engine.test_shortage import CONFIG
from tests.support.models import random_latents, random_vae
from zvae_tiled.errors import OutOfMemoryError

vae = random_vae(CONFIG)
vae.decode(random_latents(CONFIG, 8, 6))
room = psutil.Process().memory_info().vms + (6 << 20)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
try:
    vae.decode(random_latents(CONFIG, 300, 300), budget="4GB")
except OutOfMemoryError as error:
    print(error.problem)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the address space")
def test_mlx_is_not_asked_for_memory_that_cannot_be_had() -> None:
    """On a CPU it would not notice, and crash."""
    words = [sys.executable, "-c", CRAMPED]
    ended = subprocess.run(words, capture_output=True, text=True, env=environment(ZVAE_KERNELS="mlx"), check=False)
    assert ended.returncode == 0, ended.stderr
    assert "memory ran out while decoding: " in ended.stdout
