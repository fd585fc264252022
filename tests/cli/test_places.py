"""Pipes, devices and links as outputs are written into, or followed; modes are kept."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.cli.decoding import files, levels
from tests.support.running import run, save_latents


def test_a_picture_goes_into_a_pipe_a_device_and_through_a_link(place: Path) -> None:
    os.mkfifo(place / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((place / "pipe").read_bytes()))
    reader.start()
    run("decode", "a.npy", "-o", "pipe", "-q", "--no-overwrite")
    reader.join()
    run("decode", "a.npy", "-o", "/dev/null", "-q")
    (place / "real").mkdir()
    (place / "link.png").symlink_to("real/a.png")
    run("decode", "a.npy", "-o", "link.png", "-q")
    assert (place / "link.png").is_symlink()
    assert read == [(place / "real" / "a.png").read_bytes()]
    assert levels(place / "link.png", place / "a.npy")
    (place / "real" / "a.png").chmod(0o640)
    run("decode", "b.npy", "-o", "link.png", "-q")
    assert stat.S_IMODE((place / "real" / "a.png").stat().st_mode) == 0o640
    assert levels(place / "link.png", place / "b.npy")
    assert stat.S_ISFIFO((place / "pipe").stat().st_mode)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_batch_does_not_go_into_a_pipe(place: Path) -> None:
    os.mkfifo(place / "pipe.png")
    save_latents(place / "x.npy", batch=2)
    before = files(place)
    said = run("decode", "x.npy", "-o", "pipe.png", code=5).stderr
    assert "pipe.png is a pipe or a device, which takes one picture; this is a batch of 2" in said
    assert files(place) == before


def test_latents_and_plans_go_there_too(place: Path) -> None:
    np.save(place / "p.npy", np.zeros((4, 6, 3), np.float32))
    (place / "link.npy").symlink_to("real.npy")
    run("encode", "p.npy", "-o", "link.npy", "-q")
    assert np.load(place / "real.npy").shape == (1, 4, 2, 3)
    run("decode", "a.npy", "-o", "a.png", "--save-plan", "/dev/null", "-q")
    assert "p.npy is an input" in run("encode", "p.npy", "-o", "loop.npy", code=2).stderr if _link(place) else True


def _link(place: Path) -> bool:
    (place / "loop.npy").symlink_to("p.npy")
    return True


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
def test_a_full_device_is_an_error_and_leaves_nothing(place: Path) -> None:
    before = files(place)
    said = run("decode", "a.npy", "-o", "/dev/full", code=5).stderr
    assert "/dev/full cannot be written: No space left on device" in said
    assert files(place) == before
