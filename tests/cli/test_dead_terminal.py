"""A terminal that goes away, or a log whose disk is full: the picture is written all the same."""

from __future__ import annotations

import errno
import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.models import random_latents, random_vae
from tests.support.running import COMMAND, CONFIG, environment, save_latents
from zvae_tiled.cli.app import zvae


class Gone(io.StringIO):
    """A terminal that takes so many writes, and then is gone."""

    left = 0

    def write(self, text: str) -> int:
        self.flush()
        self.left -= 1
        return len(text)

    def flush(self) -> None:
        if self.left <= 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def isatty(self) -> bool:
        return True


def main(*words: str) -> int:
    """Run a command in this process, with the standard error that it has, and return the exit code."""
    with pytest.raises(SystemExit) as ended:
        zvae.main(list(words), prog_name="zvae")
    return int(ended.value.code or 0)


def gone(monkeypatch: pytest.MonkeyPatch, left: int = 0) -> Gone:
    """Make standard error such a terminal. Not a fixture: pytest would put its own in place before the test."""
    stream = Gone()
    stream.left = left
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    return stream


@pytest.mark.parametrize("left", [0, 3])
def test_the_picture_is_there_though_the_terminal_is_gone(
    place: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    stream = gone(monkeypatch, left)
    assert main("decode", "a.npy", "-o", "x.png") == 0
    assert (place / "x.png").read_bytes()[:4] == b"\x89PNG"
    assert sys.stderr is stream


def test_what_fails_keeps_its_exit_code(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone(monkeypatch)
    assert main("decode", "a.npy", "-o", "x.png", "--budget", "1kB") == 4
    assert main("decode", "a.npy") == 2
    assert main("decode", "nowhere.npy", "-o", "x.png", "--debug") == 3
    assert capsys.readouterr().out == ""


def test_a_line_of_progress_does_not_end_a_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    vae, latents, printed = random_vae(CONFIG), random_latents(CONFIG, 6, 10), io.StringIO()
    gone(monkeypatch)
    monkeypatch.setattr("sys.stdout", printed)
    vae.decode(latents, progress=True)
    monkeypatch.setattr("sys.stderr", None)
    vae.decode(latents, progress=True)
    assert printed.getvalue() == "", "without a standard error, print would write to standard output"


@pytest.mark.slow
@pytest.mark.parametrize("names", [["a.npy"], ["a.npy", "b.npy"]])
def test_a_pseudo_terminal_whose_other_end_is_closed(place: Path, names: list[str]) -> None:
    save_latents(place / "a.npy", 60, 60, batch=4)  # long enough to be under way as the terminal goes
    ours, theirs = pty.openpty()
    words = [*COMMAND, "decode", *names, "-o", "{stem}.png"]
    more = environment(TERM="xterm", ZVAE_KERNELS="mlx")
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, env=more) as child:
        os.close(theirs)
        os.read(ours, 1 << 10)
        os.close(ours)
        assert (child.communicate()[0], child.returncode) == (b"", 0)
    assert len(list(place.glob("*.png"))) == 4 + len(names) - 1
