"""Maps on disk and pictures in files: free space is checked first, and no failure leaves anything behind."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.support.leftovers import FullDisk, file_size_limit, nothing_left, refusal, spilled_files
from tests.support.models import random_latents, random_vae
from tests.support.plans import bits, plan_for, random_config
from tests.support.samples import examples
from zvae_tiled import Plan
from zvae_tiled.devices.here import kernels_for, this_device
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.files import map_bytes
from zvae_tiled.files.temporary import temporary_folder
from zvae_tiled.planner.replay import costed
from zvae_tiled.report.progress import Progress

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
CONFIG = AutoencoderKLConfig(block_out_channels=(8, 8), norm_num_groups=2)
VAE, LATENTS = random_vae(CONFIG), random_latents(CONFIG, 12, 10)
KERNELS = type(kernels_for(this_device(VAE.dtype), VAE.dtype))
PLAN = plan_for(VAE, LATENTS.shape, Random(0), ("disk",))
FILE_BYTES = 24 * 20 * 3 * 4


@linux
@pytest.mark.parametrize("named", [True, False])
def test_spilled_files_have_no_name_and_lie_in_the_chosen_folder(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not named:
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.setenv("TMPDIR", str(tmp_path))
    seen: set[str] = set()

    def look(progress: Progress) -> None:
        assert not list(tmp_path.iterdir())
        seen.update(spilled_files(tmp_path))

    with nothing_left(tmp_path):
        VAE.decode(LATENTS, plan=PLAN, progress=look, spill_folder=tmp_path if named else None)
    assert seen
    assert all(name.endswith("(deleted)") for name in seen)


@linux
def test_the_plan_says_how_much_is_spilled(tmp_path: Path) -> None:
    """So the check of free space compares with the right number."""
    most = 0

    def look(progress: Progress) -> None:
        nonlocal most
        most = max(most, sum(spilled_files(tmp_path).values()))

    plan = VAE.plan(24, 20, "1GB")
    while not plan.spilled:  # less and less memory, until maps must be spilled
        plan = VAE.plan(24, 20, f"{plan.predicted_peak - 1}B")
    VAE.decode(LATENTS, plan=plan, progress=look, spill_folder=tmp_path)
    assert 0 < most <= plan.spilled


@linux
@pytest.mark.parametrize("seed", [None, 1, 2, "tiles"])
def test_one_file_serves_all_maps_and_is_never_larger_than_planned(
    seed: int | str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _tiles() if seed == "tiles" else VAE.plan(24, 20, "1GB", work=True)
    if isinstance(seed, int):
        plan = plan_for(VAE, LATENTS.shape, Random(seed), ("disk",))
    files, most, written = set[str](), 0, 0

    def write(kernels: Any, place: Any, x: Any, real: Any = KERNELS.write) -> None:
        nonlocal most, written
        real(kernels, place, x)
        found = spilled_files(tmp_path)
        files.update(found)
        most, written = max(most, sum(found.values())), written + x.nbytes

    monkeypatch.setattr(KERNELS, "write", write)
    VAE.decode(random_latents(CONFIG, plan.case.height, plan.case.width), plan=plan, spill_folder=tmp_path)
    assert len(files) == 1
    assert 0 < most <= plan.spilled
    assert most < written


@linux
@examples(8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32))
def test_as_much_is_on_disk_as_any_plan_says(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(seed)
    vae = random_vae(config := random_config(rng))
    latents = random_latents(config, rng.randint(2, 12), rng.randint(2, 12))
    plan, most = plan_for(vae, latents.shape, rng, ("disk",)), [0]

    def write(kernels: Any, place: Any, x: Any, real: Any = KERNELS.write) -> None:
        real(kernels, place, x)
        most.append(sum(spilled_files(tmp_path).values()))

    with monkeypatch.context() as patch:
        patch.setattr(KERNELS, "write", write)
        vae.decode(latents, plan=plan, spill_folder=tmp_path)
    assert max(most) == plan.spilled


def test_a_map_that_cannot_be_read_back_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(handle: int, buffers: list[memoryview], offset: int) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(map_bytes, "os", SimpleNamespace(pwrite=os.pwrite, preadv=broken))
    with nothing_left(tmp_path):
        text = refusal(VAE.decode, LATENTS, plan=PLAN, spill_folder=tmp_path)
    assert f"maps in {tmp_path} cannot be read: Input/output error" in text


def _tiles() -> Plan:
    """Return a plan of several stages that spills: less and less memory, until it does."""
    plan = VAE.plan(48, 40, "1GB", quality="tiles")
    while sum(sweep.medium == "disk" for sweep in plan.stages[0].sweeps) < 3:
        plan = VAE.plan(48, 40, f"{plan.predicted_peak - 1}B", quality="tiles")
    return plan


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.sample(3)
def test_the_plan_says_what_is_written_and_read(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A skip that is stored already is read once more, and not written once more."""
    plan = plan_for(VAE, LATENTS.shape, Random(seed))
    moved = 0

    def write(kernels: Any, place: Any, x: Any, real: Any = KERNELS.write) -> None:
        nonlocal moved
        moved += x.nbytes
        real(kernels, place, x)

    def read(kernels: Any, *at: Any, real: Any = KERNELS.read) -> Any:
        nonlocal moved
        found = real(kernels, *at)
        moved += found.nbytes
        return found

    monkeypatch.setattr(KERNELS, "write", write)
    monkeypatch.setattr(KERNELS, "read", read)
    VAE.decode(LATENTS, plan=plan, spill_folder=tmp_path)
    assert moved == sum(sweep.io for sweep in costed(plan, this_device(VAE.dtype)).sweeps)


def test_a_skip_that_is_stored_already_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a plan that stores every map on disk, each number of a skip inside a resnet was a value before."""
    chain, plan = CONFIG.chain("decode"), VAE.plan(24, 20, "1GB", work=True)
    stored = [sweep.store for sweep in plan.sweeps if sweep.store is not None]
    assert any(chain.aside[cut] for cut in stored)
    written = 0

    def write(kernels: Any, place: Any, x: Any, real: Any = KERNELS.write) -> None:
        nonlocal written
        written += x.nbytes
        real(kernels, place, x)

    monkeypatch.setattr(KERNELS, "write", write)
    VAE.decode(LATENTS, plan=plan, spill_folder=tmp_path)
    pixels = 12 * 10 * VAE.dtype.size
    maps = {cut: pixels * chain.factors[cut] ** 2 * (chain.channels[cut] - chain.aside[cut]) for cut in stored}
    keys = pixels * 2 * chain.steps[chain.attention or 0].inputs
    assert written == sum(maps.values()) + keys


def test_too_little_free_space_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KERNELS, "conv", lambda *args: pytest.fail("work has begun"))
    free = PLAN.spilled - 1
    frees = {tmp_path: free, temporary_folder(): PLAN.spilled}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=frees[folder]))
    assert VAE.prepare(LATENTS, budget="1GB", spill_folder=tmp_path, disk_limit="50%").plan.storage.limit == free // 2
    for decode in (VAE.decode, lambda *args, **options: next(VAE.stream(*args, **options))):
        with nothing_left(tmp_path):
            text = refusal(decode, LATENTS, plan=PLAN, spill_folder=tmp_path)
        assert f"{PLAN.spilled:,} bytes" in text
        assert f"{free:,} free" in text
        assert "spill_folder=" in text


@pytest.mark.parametrize("looked", [False, True])  # a folder may disappear after the check
@pytest.mark.parametrize("place", ["missing", "file", pytest.param("/proc", marks=linux)])
def test_folders_that_cannot_be_written_to(
    place: str, looked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    if not looked:
        monkeypatch.setattr("zvae_tiled.jobs.job.check_free_space", lambda folder, needed: None)
    with nothing_left(tmp_path):
        text = refusal(VAE.decode, LATENTS, plan=PLAN, spill_folder=tmp_path / place)
    assert place in text
    assert "spill_folder=" in text


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with nothing_left(tmp_path):
        assert "cannot be written to" in refusal(VAE.decode, LATENTS, plan=PLAN, spill_folder=tmp_path)


@examples(15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(room=st.integers(0, 12 * 10 * 8 * 4 * 6))
def test_a_full_disk_is_an_error_and_leaves_nothing(room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, nothing_left(tmp_path):
        patch.setattr(map_bytes, "os", FullDisk(room).os)
        assert f"maps in {tmp_path} cannot be stored: the disk is full" in refusal(
            VAE.decode, LATENTS, plan=PLAN, spill_folder=tmp_path
        )


def test_writes_in_pieces_give_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    want = bits(VAE.decode(LATENTS, plan=PLAN, spill_folder=tmp_path))
    pieces = SimpleNamespace(
        pwrite=lambda handle, data, offset: os.pwrite(handle, data[:1001], offset),
        preadv=lambda handle, buffers, offset: os.preadv(handle, [buffers[0][:777]], offset),
    )
    monkeypatch.setattr(map_bytes, "os", pieces)
    assert bits(VAE.decode(LATENTS, plan=PLAN, spill_folder=tmp_path)) == want


def test_no_call_moves_more_than_systems_take_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    want, most, sizes = bits(VAE.decode(LATENTS, plan=PLAN, spill_folder=tmp_path)), 500, set()

    def pwrite(handle: int, data: memoryview, offset: int) -> int:
        sizes.add(len(data))
        return os.pwrite(handle, data, offset)

    def preadv(handle: int, buffers: list[memoryview], offset: int) -> int:
        sizes.add(len(buffers[0]))
        return os.preadv(handle, buffers, offset)

    monkeypatch.setattr(map_bytes, "os", SimpleNamespace(pwrite=pwrite, preadv=preadv))
    monkeypatch.setattr(map_bytes, "_AT_ONCE", most)
    assert bits(VAE.decode(LATENTS, plan=PLAN, spill_folder=tmp_path)) == want
    assert max(sizes) == most


def test_the_systems_own_refusal_while_spilling(tmp_path: Path) -> None:
    with nothing_left(tmp_path), file_size_limit(5000):
        assert "File too large" in refusal(VAE.decode, LATENTS, plan=PLAN, spill_folder=tmp_path)


@pytest.mark.parametrize("size", [0, 5000, FILE_BYTES])  # at the first row, in the middle, at the last flush
@pytest.mark.parametrize("name", ["picture.npy", "picture.png"])
@pytest.mark.sample(3)
def test_the_systems_own_refusal_while_writing_a_picture(name: str, size: int, tmp_path: Path) -> None:
    plan = plan_for(VAE, LATENTS.shape, Random(0), ("ram",))
    size = size if name.endswith("npy") else size // 24  # a PNG is smaller
    (tmp_path / name).write_bytes(b"what was there before")
    with nothing_left(tmp_path), file_size_limit(size):
        assert f"{name} cannot be written: File too large" in refusal(
            VAE.decode_to_file, LATENTS, tmp_path / name, plan=plan
        )
