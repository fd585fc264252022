"""Videos of Wan 2.1 and Qwen-Image: what is computed, and that any two budgets give the same bytes within each."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.support.plans import bits
from tests.support.video import DEEP, SMALL, save_video_vae, video64, video_latents, video_tensors, video_vae
from zvae_tiled import VAE, Latents, config_of
from zvae_tiled.devices.here import kernels_for, this_device
from zvae_tiled.errors import (
    BudgetError,
    ConfigError,
    ForkError,
    InputError,
    LatentsError,
    OutputError,
    SilentFailureError,
    WeightsError,
)
from zvae_tiled.families.qwen_image import QwenImageConfig
from zvae_tiled.jobs.video import Video
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.wording import duration


def frames(video: Video) -> np.ndarray:
    return np.stack([np.asarray(frame) for frame in video.frames()])


def smallest(vae: VAE, latents: Any) -> int:
    """The smallest budget in bytes that has room for a frame, too."""
    with pytest.raises(BudgetError) as error:
        _with_budget(vae, latents, 1).frames()
    return error.value.needed


def _with_budget(vae: VAE, latents: Any, size: int) -> Video:
    return vae.video(latents, budget=f"{size}b")


@pytest.mark.parametrize(("config", "count"), [(SMALL, 4), (DEEP, 1), (DEEP, 3)], ids=["once", "one frame", "twice"])
@pytest.mark.sample(2)
def test_it_equals_float64(config: QwenImageConfig, count: int) -> None:
    vae, latents = video_vae(config), video_latents(config, count, 3, 4)
    got, want = frames(vae.video(latents)), video64(vae, latents)
    assert got.shape == want.shape == (1 + (count - 1) * (2 if config == SMALL else 4), 12, 16, 3)
    assert abs(got - want).max() < 1e-4 * want.std()


@pytest.mark.slow
def test_mlx_alone_computes_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZVAE_KERNELS", "mlx")
    vae, latents = video_vae(SMALL), video_latents(SMALL, 2, 2, 1)
    got, want = frames(vae.video(latents)), video64(vae, latents)
    assert abs(got - want).max() < 1e-4 * want.std()
    low = _with_budget(vae, latents, smallest(vae, latents))
    assert bits(frames(low)) == bits(got)


def test_a_lost_sum_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = video_vae(SMALL)
    kernels = type(kernels_for(this_device(vae.dtype), vae.dtype))
    monkeypatch.setattr(kernels, "added", lambda self, skip, x: mx.zeros(x.shape, dtype=vae.dtype))
    with pytest.raises(SilentFailureError, match=r"conv2 could not be added to what was carried, twice"):
        frames(vae.video(video_latents(SMALL, 2, 3, 3)))


def test_the_first_frame_is_the_picture_of_the_first_latents() -> None:
    vae, latents = video_vae(), video_latents(DEEP, 3, 4, 3)
    first = next(vae.video(latents).frames())
    assert bits(first) == bits(vae.decode(latents[:, :, 0])[0])
    image = VAE.from_state_dict(video_tensors(DEEP), DEEP, "float32")
    assert bits(first) == bits(image.decode(latents[:, :, 0])[0])


@pytest.mark.slow
def test_a_frame_depends_on_the_frames_before_it_alone() -> None:
    vae, latents = video_vae(SMALL), video_latents(SMALL, 4, 2, 2)
    whole = frames(vae.video(latents))
    assert bits(frames(vae.video(latents[:, :, :2]))) == bits(whole[:3])
    other = latents.copy()
    other[:, :, 1] += 1
    changed = frames(vae.video(other))
    assert bits(changed[:1]) == bits(whole[:1])
    assert all(abs(a - b).max() > 1e-3 for a, b in zip(changed[1:5], whole[1:5], strict=True))


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_any_two_budgets_give_the_same_bytes_within_each(dtype: str) -> None:
    vae, latents = video_vae(SMALL, dtype), video_latents(SMALL, 2, 9, 4)
    ample = vae.video(latents)
    want = bits(frames(ample))
    assert ample.report is not None
    assert not ample.report.plan.on_disk
    least, most = smallest(vae, latents), ample.report.plan.predicted_peak
    assert least < most
    for size in (least, (least + most) // 2, most):
        video = _with_budget(vae, latents, size)
        assert bits(frames(video)) == want
        assert video.report is not None
        assert video.report.measured_peak <= video.report.plan.predicted_peak - PROCESS
        assert video.report.plan.predicted_peak <= size
        assert (video.report.plan.spilled > 0) == (size < most), "every row of a frame is in one band"
    with pytest.raises(BudgetError, match="a video of 16x36 needs at least"):
        frames(_with_budget(vae, latents, least - 1))


def test_memory_depends_neither_on_the_number_of_frames_nor_on_the_height() -> None:
    vae = video_vae(SMALL)

    def needed(count: int, height: int) -> int:
        latents = video_latents(SMALL, count, height, 6)
        with pytest.raises(BudgetError) as error:
            _ = _with_budget(vae, latents, 1).plan
        return error.value.needed - 4 * latents.size

    assert needed(2, 40) == needed(9, 40)
    one_frame = 4 * 16 * 80 * 6  # ready for the first Step, and its attended map beside it
    assert needed(2, 160) - needed(2, 80) <= 4 * one_frame


def test_the_plan_says_what_it_does() -> None:
    video = video_vae().video(video_latents(DEEP, 3, 4, 6))
    assert video.shape == (9, 16, 24, 3)
    assert video.plan.frames == 9
    assert str(video.plan).startswith("video      9 frames of 24x16, float32 on cpu")
    assert f"time       {duration(video.plan.predicted_seconds)} if idle" in str(video.plan)
    assert video.plan.predicted_seconds > 0


def test_files_hold_the_frames(tmp_path: Path) -> None:
    from PIL import Image

    vae, latents = video_vae(SMALL), video_latents(SMALL, 2, 2, 3)
    want = np.stack([np.asarray(frame) for frame in vae.video(latents).frames("uint8")])
    assert want.dtype == np.uint8
    (folder := tmp_path / "50%d").mkdir()
    report = vae.video(latents, budget="1GB").write(folder / "%03d.png")
    assert sorted(path.name for path in folder.iterdir()) == [f"{number:03}.png" for number in range(3)]
    for number, frame in enumerate(want):
        with Image.open(folder / f"{number:03}.png") as picture:
            assert bits(np.asarray(picture)) == bits(frame)
            assert picture.info["zvae_quality"] == "exact"
    assert report.measured_peak <= report.plan.predicted_peak - PROCESS
    vae.video(latents).write(tmp_path / "video.rgb")
    assert (tmp_path / "video.rgb").read_bytes() == want.tobytes()
    with (tmp_path / "other").open("wb") as file:
        vae.video(latents).write(file)
    assert (tmp_path / "other").read_bytes() == want.tobytes()


def test_a_pipe_is_written_as_rows_are_finished(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit((tmp_path / "pipe").read_bytes)
        vae, latents = video_vae(SMALL), video_latents(SMALL, 2, 2, 2)
        vae.video(latents).write(tmp_path / "pipe")
        want = np.stack([np.asarray(frame) for frame in vae.video(latents).frames("uint8")])
        assert read.result() == want.tobytes()


@pytest.mark.parametrize(
    ("place", "bits", "problem"),
    [
        ("frame.png", None, "needs one place for a number"),
        ("%d-%d.png", None, "needs one place for a number"),
        ("%s.png", None, "needs one place for a number"),
        ("%05d.mp4", None, "pictures are written as"),
        ("a.rgb", 16, "raw frames have 8 bits"),
        ("none/%d.png", None, "the folder none does not exist"),
    ],
)
def test_where_frames_cannot_be_written_is_refused(
    place: str, bits: int | None, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=problem):
        video_vae().video(video_latents(DEEP, 2, 2, 2)).write(place, bits=bits)
    assert not list(tmp_path.iterdir())


def test_a_forked_process_is_refused_before_latents_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = video_vae()
    monkeypatch.setattr("zvae_tiled.devices.forks._lost_threads", True)
    monkeypatch.setattr("zvae_tiled.inputs.video.to_mlx", lambda *_: pytest.fail("MLX computes"))
    with pytest.raises(ForkError):
        vae.video(video_latents(DEEP, 1, 2, 2))


def test_what_is_no_video_is_refused() -> None:
    vae = video_vae()
    wanted = r"latents of a video have the shape \(1, 16, frames, h, w\), these have"
    for shape, advice in [
        ((16, 2, 4, 4), "Pass one video at a time"),
        ((2, 16, 2, 4, 4), "Pass one video at a time"),
        ((1, 8, 2, 4, 4), "Are these latents of another VAE"),
        ((1, 2, 16, 4, 4), "Are the frames first"),
        ((1, 2, 4, 4, 16), "Are the channels last"),
    ]:
        with pytest.raises(LatentsError, match=rf"{wanted} {re.escape(str(shape))}\n *{advice}"):
            vae.video(np.zeros(shape, np.float32))
    with pytest.raises(LatentsError, match=r"latents of shape \(1, 16, 0, 4, 4\) are empty"):
        vae.video(np.zeros((1, 16, 0, 4, 4), np.float32))
    bad = np.zeros((1, 16, 2, 4, 4), np.float32)
    bad[0, 3, 1, 2, 0] = np.nan
    with pytest.raises(LatentsError, match=r"the first is nan at \(0, 3, 1, 2, 0\) of \(1, 16, 2, 4, 4\)"):
        vae.video(bad)
    for layout in ("NWHC", np.zeros(3)):
        with pytest.raises(LatentsError, match="layout must be 'NCHW', 'NHWC' or None"):
            vae.video(Latents(bad, layout=layout))  # type: ignore[arg-type]
    image = VAE.from_state_dict(video_tensors(DEEP), DEEP, "float32")
    with pytest.raises(InputError, match="this VAE holds those of one frame"):
        image.video(np.zeros((1, 16, 2, 4, 4), np.float32))
    with pytest.raises(LatentsError, match="hold 2 frames"):
        vae.decode(np.zeros((1, 16, 2, 4, 4), np.float32))


@pytest.mark.parametrize("preset", ["wan2.2", "z-image", "qwen-image-2.1"])
def test_other_networks_decode_no_video(preset: str) -> None:
    with pytest.raises(ConfigError, match="decodes no video"):
        config_of(preset).video()


@pytest.mark.parametrize("preset", ["wan2.1", "qwen-image"])
def test_the_published_decoders_are_cut_where_frames_double(preset: str) -> None:
    segments = config_of(preset).video()
    assert [segment.factor for segment in segments] == [1, 2, 4]
    assert [len(segment.later) for segment in segments] == [1, 2, 2]
    image = config_of(preset).chain("decode")
    assert tuple(step for segment in segments for step in segment.first.steps) == image.steps


def test_weights_of_one_frame_are_refused_for_a_video(tmp_path: Path) -> None:
    path = save_video_vae(tmp_path / "vae.safetensors")
    vae = VAE.load(path, "float32", config=DEEP, video=True)
    assert all(bits(vae.weights[name]) == bits(values) for name, values in video_vae().weights.items())
    flat = {name: values[:, :, -1] if values.ndim == 5 else values for name, values in video_tensors(DEEP).items()}
    with pytest.raises(WeightsError, match=r"decoder\.conv_in\.weight: \(8, 16, 3, 3\) stored"):
        VAE.from_state_dict(flat, DEEP, video=True)
