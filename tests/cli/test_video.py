"""`zvae video`: picture files, raw frames in a file and on standard output, and what is refused."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from tests.support.running import run
from tests.support.video import SMALL, save_video_vae, video_latents, video_vae
from zvae_tiled.errors import OutputError
from zvae_tiled.jobs.video import Video


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a VAE and latents of two frames."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text(json.dumps({"_class_name": SMALL.class_name, **asdict(SMALL)}))
    save_video_vae(tmp_path / "vae" / "diffusion_pytorch_model.safetensors", SMALL)
    np.save("v.npy", video_latents(SMALL, 2, 3, 4))
    return tmp_path


def frames() -> np.ndarray:
    return np.stack(
        [np.asarray(each) for each in video_vae(SMALL).video(video_latents(SMALL, 2, 3, 4)).frames("uint8")]
    )


def test_frames_become_pictures_or_raw_bytes(folder: Path) -> None:
    from PIL import Image

    (folder / "frames").mkdir()
    said = run(
        "video", "v.npy", "-o", "frames/%02d.png", "--vae", "vae", "--dtype", "float32", "--budget", "1GB"
    ).stderr
    assert "3 frames of 16x12" in said
    assert "written    frames/%02d.png" in said
    for number, frame in enumerate(frames()):
        with Image.open(f"frames/{number:02}.png") as picture:
            assert np.array_equal(np.asarray(picture), frame)
    run("video", "v.npy", "-o", "v.rgb", "--vae", "vae", "--dtype", "float32", "-q")
    assert (folder / "v.rgb").read_bytes() == frames().tobytes()


def test_a_pipe_gets_the_same_bytes(folder: Path) -> None:
    given = (folder / "v.npy").read_bytes()
    said = run("video", "-", "-o", "-", "--vae", "vae", "--dtype", "float32", "-q", stdin=given)
    assert (said.stdout_bytes, said.stderr) == (frames().tobytes(), "")


@pytest.mark.parametrize(
    ("options", "code", "problem"),
    [
        (["-o", "a.png"], 5, "needs one place for a number"),
        (["-o", "a.mp4"], 5, "or raw frames into a pipe to ffmpeg"),
        (["-o", "none/%d.png"], 5, "mkdir -p none"),
        (["-o", "%d.png", "--budget", "1MB"], 4, "a video of 16x12 needs at least"),
        (["-o", "%d.png", "--vae", "demo"], 3, "decodes no video"),
    ],
)
def test_what_cannot_be_done_is_refused_before_work(options: list[str], code: int, problem: str, folder: Path) -> None:
    model = [] if "--vae" in options else ["--vae", "vae", "--dtype", "float32"]
    failed = run("video", "v.npy", *options, *model, code=code)
    assert problem in failed.stderr
    assert not list(folder.glob("*.png"))


@pytest.mark.parametrize("source", ["v.npy", "vae/diffusion_pytorch_model.safetensors"])
@pytest.mark.parametrize("out", ["-", "%02d.png", "v.rgb"])
def test_no_input_is_replaced(out: str, source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = (folder / source).read_bytes()
    for name in ("02.png", "v.rgb"):
        (folder / name).symlink_to(source)
    monkeypatch.setattr("zvae_tiled.cli.video.STDOUT_FILE", folder / source)  # as after >> source
    failed = run("video", "v.npy", "-o", out, "--vae", "vae", "--dtype", "float32", code=2)
    assert "is an input" in failed.stderr
    assert (folder / source).read_bytes() == kept
    assert not failed.stdout_bytes


def test_a_closed_standard_output_is_refused_before_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell's >&- leaves a stream that is open for reading only."""
    monkeypatch.setattr("zvae_tiled.cli.outputs.fcntl.fcntl", lambda *_: os.O_RDONLY)
    monkeypatch.setattr("zvae_tiled.cli.video.load_vae", lambda *_, **__: pytest.fail("work has begun"))
    failed = run("video", "v.npy", "-o", "-", "--vae", "vae", "--dtype", "float32", code=2)
    assert "Standard output (-) is closed" in failed.stderr


def test_ctrl_c_leaves_whole_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(self: Video, plan: object, meter: object, frame: int, passed: int) -> None:
        if frame == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Video, "_tell", tell)
    before = set(folder.iterdir())
    run("video", "v.npy", "-o", "%d.png", "--vae", "vae", "--dtype", "float32", "-q", code=130)
    assert {path.name for path in set(folder.iterdir()) - before} == {"0.png"}


def test_a_full_disk_does_not_give_up_standard_output(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise OutputError("maps in /maps cannot be stored: the disk is full") from error

    monkeypatch.setattr("zvae_tiled.jobs.video.check_free_space", full)
    monkeypatch.setattr("zvae_tiled.cli.video.give_up_standard_output", lambda: pytest.fail("it was given up"))
    failed = run("video", "v.npy", "-o", "-", "--vae", "vae", "--dtype", "float32", "-q", code=5)
    assert "maps in /maps cannot be stored: the disk is full" in failed.stderr


def test_a_reader_that_ends_early_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb", buffering=0) as stream:
        monkeypatch.setattr("zvae_tiled.cli.video.checked_standard_output", lambda: stream)
        failed = run("video", "v.npy", "-o", "-", "--vae", "vae", "--dtype", "float32", "-q", code=5)
    assert "standard output cannot be written: Broken pipe" in failed.stderr
    assert "The program that reads the frames ended too early" in failed.stderr


def test_the_budget_that_an_error_names_is_enough(folder: Path) -> None:
    """Pictures gather rows, too."""
    words = ("video", "v.npy", "-o", "%d.webp", "--vae", "vae", "--dtype", "float32", "-q", "--budget")
    failed = run(*words, "1MB", code=4)
    named = re.search(r'Raise the budget to "(.+?)"', failed.stderr)
    assert named
    run(*words, named[1])
