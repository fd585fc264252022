"""What goes wrong while a video is decoded: memory, disks and readers that give up, and Ctrl-C."""

from __future__ import annotations

import io
import os
import shutil
import sys
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.leftovers import nothing_left, refusal, spilled_files
from tests.support.video import SMALL, video_latents, video_vae
from zvae_tiled import Progress
from zvae_tiled.devices.here import kernels_for, this_device
from zvae_tiled.errors import BudgetError, OutOfMemoryError, OutputError
from zvae_tiled.jobs.video import Video

VAE, LATENTS = video_vae(SMALL), video_latents(SMALL, 2, 6, 4)
FRAME = 4 * prod(VAE.video(LATENTS).shape[1:])


class Full:
    """A file object that has room for the first rows."""

    left = 2

    def write(self, data: bytes) -> int:
        self.left -= 1
        if not self.left:
            raise OSError(28, "No space left on device")
        return len(data)


def low(folder: Path, beside: int = 0) -> Video:
    """A video in the smallest memory, with room for so many bytes beside it: all between the frames is on disk."""
    with pytest.raises(BudgetError) as error:
        _ = VAE.video(LATENTS, budget="1b").plan
    return VAE.video(LATENTS, budget=f"{error.value.needed + beside}b", spill_folder=folder)


def short(*_: Any) -> Any:
    raise MemoryError


def test_memory_that_runs_out_is_an_error_of_this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    video = VAE.video(LATENTS)
    monkeypatch.setattr("zvae_tiled.jobs.video.make_room", short)
    for run in (lambda: next(video.frames()), lambda: video.write(io.BytesIO())):
        with pytest.raises(OutOfMemoryError, match="memory ran out while decoding"):
            run()
    monkeypatch.setattr("zvae_tiled.vae.read_video", short)
    with pytest.raises(OutOfMemoryError, match="memory ran out while reading latents"):
        VAE.video(LATENTS)


@pytest.mark.parametrize("name", ["%d.png", "v.rgb"])
def test_files_that_the_disk_may_not_hold_are_refused_before_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = VAE.video(LATENTS)
    free = prod(video.shape) - 1
    monkeypatch.setattr("zvae_tiled.jobs.video.VideoRun", lambda *_: pytest.fail("work has begun"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    with pytest.raises(OutputError, match=f"{tmp_path} has {free:,} free"):
        video.write(tmp_path / name)


def test_ctrl_c_leaves_whole_frames_alone(tmp_path: Path) -> None:
    """Frame 0 is complete when frame 1 begins. Raw frames are whole at the end alone."""

    def press(progress: Progress) -> None:
        if progress.sweep == 2:
            raise KeyboardInterrupt

    for name, left in (("v.rgb", []), ("%d.png", ["0.png"])):
        with nothing_left():
            try:
                VAE.video(LATENTS, progress=press).write(tmp_path / name)
            except KeyboardInterrupt:  # its frames hold memory, until it is dropped here
                pass
            else:
                pytest.fail("Ctrl-C was swallowed")
        assert [path.name for path in tmp_path.iterdir()] == left


def test_a_full_disk_of_the_caller_and_a_closed_iterator_leave_nothing(tmp_path: Path) -> None:
    video = low(tmp_path, beside=FRAME)
    with nothing_left(tmp_path):
        some = video.frames()
        next(some)
        some.close()  # type: ignore[attr-defined]
        said = refusal(video.write, Full())
    assert "the file object cannot be written: No space left on device" in said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="open files without names are found in /proc")
def test_no_more_is_on_disk_than_the_plan_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    kernels = type(kernels_for(this_device(VAE.dtype), VAE.dtype))

    def write(self: Any, place: Any, x: Any, real: Any = kernels.write) -> None:
        nonlocal most
        real(self, place, x)
        most = max(most, sum(spilled_files(tmp_path).values()))

    monkeypatch.setattr(kernels, "write", write)
    video = low(tmp_path)
    with nothing_left(tmp_path):
        video.write(io.BytesIO())
    assert 0 < most <= video.plan.spilled


@pytest.mark.parametrize("other", [b"content", None])
def test_what_took_the_place_of_a_pipe_is_not_written_to(other: bytes | None, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def replace(progress: Progress) -> None:
        pipe.unlink()
        if other is not None:
            pipe.write_bytes(other)

    said = refusal(VAE.video(LATENTS, progress=replace).write, pipe)
    assert ("it is no longer a pipe or a device" if other else "No such file") in said
    assert pipe.exists() == (other is not None)
    assert other is None or pipe.read_bytes() == other
