"""How commands end when streams are closed, disks are full, names are too long, or signals come at any time."""

from __future__ import annotations

import errno
import io
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import click
import numpy as np
import pytest
from click.testing import CliRunner

from tests.cli.decoding import files
from tests.support.leftovers import file_size_limit
from tests.support.running import environment, run, save_latents
from zvae_tiled.cli import inputs
from zvae_tiled.cli.command import Command
from zvae_tiled.cli.endings import ENDINGS
from zvae_tiled.errors import LatentsError

START = [sys.executable, "-m", "zvae"]


def shell(line: str, **more: str) -> tuple[int, str, str]:
    """Run a command line with `zvae` by a shell, and return its code and what it printed."""
    quoted = " ".join(f"'{word}'" for word in START)
    done = subprocess.run(
        ["bash", "-c", line.replace("zvae", quoted, 1)], capture_output=True, text=True, env=environment(**more)
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("zvae plan 64 --budget 1GB >/dev/full", 5, "error: [output] standard output: No space left on device"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("zvae --help >/dev/full", 5, "error: [output] standard output: No space left on device"),
                ("zvae plan 64 --budget 1GB >&-", 5, "error: [output] standard output: Bad file descriptor"),
                ("zvae decode - -o x.png <&-", 2, "Standard input (-) is closed"),
                ("zvae decode a.npy -o - >&-", 2, "Standard output (-) is closed"),
                ("zvae decode a.npy -o - >/dev/full", 5, "standard output: No space left on device"),
            )
        ),
    ],
)
def test_closed_and_full_streams(place: Path, line: str, code: int, said: str) -> None:
    if "/dev/full" in line and not os.path.exists("/dev/full"):
        pytest.skip("there is no full device")
    got = shell(line)
    assert got[0] == code, got
    assert said in got[2], got
    assert "written" not in got[2]


def test_nothing_is_written_into_a_picture_in_place_of_a_closed_stream(place: Path) -> None:
    assert shell("zvae decode a.npy -o x.png -q <&- >&- 2>&-")[0] == 0
    assert (place / "x.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_a_blas_that_cannot_be_loaded_is_named_by_the_commands_that_compute(place: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux loads a BLAS")
    code, _, said = shell("zvae decode a.npy -o x.png", ZVAE_BLAS="nosuch.so")
    assert code == 3
    assert "error: [blas] ZVAE_BLAS must be auto, off or a library" in said
    assert shell("zvae --help", ZVAE_BLAS="nosuch.so")[0] == 0


def test_the_package_is_the_command_too(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr("zvae.main", lambda: called.append("zvae"))
    runpy.run_module("zvae_tiled", run_name="__main__")
    assert called == ["zvae"]


@pytest.mark.parametrize("module", ["zvae", pytest.param("zvae_tiled.cli", marks=pytest.mark.slow)])
def test_ctrl_c_during_imports_ends_it_with_words(module: str) -> None:
    press = "import os, signal, sys, importlib.abc\n" + (
        "class Press(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'zvae_tiled.cli.app': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Press())\n"
        f"import runpy; sys.argv = ['zvae', '--help']; runpy.run_module({module!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", press], capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


LONG = "n" * 300


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["decode", LONG, "-o", "x.png"], 3),
        (["decode", f"{LONG}*", "-o", "x.png"], 3),
        (["decode", "a.npy", "-o", f"{LONG}.png"], 5),
        (["decode", "a.npy", "-o", f"{LONG}/"], 5),
        (["decode", "a.npy", "-o", f"{LONG}/x.png"], 5),
        (["decode", "a.npy", "b.npy", "-o", f"{LONG}{{stem}}.png"], 5),
        (["decode", "a.npy", "-o", "x.png", "--vae", LONG], 3),
        (["decode", "a.npy", "-o", "x.png", "--config", f"{LONG}.json"], 3),
        (["decode", "a.npy", "-o", "x.png", "--config", LONG], 3),
        (["decode", "a.npy", "-o", "x.png", "--save-plan", LONG], 5),
        (["decode", "a.npy", "-o", "x.png", "--plan", LONG], 3),
        (["decode", "a.npy", "-o", "x.png", "--preview", "--tiny", LONG], 3),
        (["decode", "a.npy", "-o", "x.png", "--spill-folder", LONG], 2),
        (["encode", LONG, "-o", "x.npy"], 3),
        (["encode", "p.png", "-o", f"{LONG}.npy"], 5),
        (["inspect", LONG], 3),
        (["inspect", f"{LONG}.npy"], 3),
        (["plan", "64", "--vae", LONG], 3),
        (["plan", "64", "--plot", f"{LONG}.svg"], 5),
    ],
    ids=lambda value: str(value).replace(LONG, "LONG"),
)
def test_a_name_of_300_letters_is_an_error_with_words(place: Path, words: list[str], code: int) -> None:
    (place / "p.png").touch()
    before = files(place)
    said = run(*words, code=code).stderr
    assert "Unexpected error" not in said
    assert "too long" in said or "300" in said or LONG[:30] in said
    assert files(place) == before


def test_a_picture_whose_folder_of_tiles_has_too_long_a_name_is_refused_before_any_work(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zvae_tiled.engine.picture.PictureRun.rows", lambda *_: pytest.fail("it is decoded"))
    said = run("decode", "a.npy", "-o", f"{'n' * 250}.dzi", code=5).stderr
    assert "n_files cannot be written: File name too long" in said.replace("\n", "")


def test_a_full_temporary_folder_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = np.zeros((1, 4, 64, 64), np.float32)
    np.save(place / "large.npy", large)
    with file_size_limit(10_000):
        said = run("decode", "-", "-o", "x.png", code=5, stdin=(place / "large.npy").read_bytes()).stderr
        assert "standard input needs a temporary file in $TMPDIR, which cannot be written: File too large" in said
    monkeypatch.setattr("zvae_tiled.cli.temporary.disk_folder", lambda: place / "nowhere")
    for words, stream in ((("-", "-o", "x.png"), "input"), (("a.npy", "-o", "-"), "output")):
        said = run("decode", *words, code=5, stdin=b"").stderr
        assert f"standard {stream} needs a temporary file in $TMPDIR" in said


def test_temporary_names_are_not_shown_and_nothing_empty_is_kept(place: Path) -> None:
    before = files(place)
    said = run("decode", "-", "-o", "x.png", code=3, stdin=b"").stderr
    assert "standard input" in said
    assert "/tmp" not in said
    assert "Download" not in said
    assert "See what writes it: latents were expected." in said
    assert files(place) == before
    run("decode", "-", "-o", "x.png", code=3, stdin=b"no such file: latents.safetensors {}")
    assert files(place) == before, "these are no latents"
    bad = np.full((1, 4, 6, 10), np.nan, np.float32)
    np.save(place / "nan.npy", bad)
    said = run("decode", "-", "-o", "x.png", code=3, stdin=(place / "nan.npy").read_bytes()).stderr
    assert "[latents] standard input: latents hold 240 values" in said


@pytest.mark.parametrize("start", [b"y\n", b"\x80\x02", b"\x89PNG\r\n\x1a\n"])
def test_what_are_no_latents_is_not_copied(start: bytes, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zvae_tiled.cli.inputs.PIECE", -1)  # all of it
    reads, read = list[int](), inputs._read

    def noted(stream: BinaryIO, count: int) -> bytes:
        reads.append(count)
        return read(stream, count)

    monkeypatch.setattr(inputs, "_read", noted)
    said = run("decode", "-", "-o", "x.png", code=3, stdin=start * 100_000).stderr
    assert "latents are read from safetensors, .npy and .npz" in said
    assert -1 not in reads


class Broken(io.BytesIO):
    """A disk that fails behind the first bytes."""

    def read(self, count: int | None = -1) -> bytes:
        if self.tell():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(count)


def test_standard_input_that_cannot_be_read_is_no_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = save_latents(tmp_path / "a.npy", 40, 40).read_bytes()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=Broken(latents)))
    with pytest.raises(LatentsError, match="standard input cannot be read: Input/output error"):
        inputs._received(tmp_path)


def test_the_place_of_kept_latents_follows_no_link(place: Path) -> None:
    (place / "zvae-latents-1.npy").symlink_to("elsewhere.npy")
    sent = (place / "a.npy").read_bytes()
    run("decode", "-", "-o", "x.png", "--budget", "1kB", code=4, stdin=sent)
    assert (place / "zvae-latents-1.npy").is_symlink()
    assert not (place / "elsewhere.npy").exists()
    assert (place / "zvae-latents-2.npy").read_bytes() == sent


@pytest.mark.parametrize("first", ENDINGS)
@pytest.mark.parametrize("second", ENDINGS)
def test_a_second_signal_does_not_interrupt_what_the_first_began(first: signal.Signals, second: signal.Signals) -> None:
    removed = []

    @click.command(cls=Command)
    def waiting() -> None:
        try:
            signal.raise_signal(first)
            time.sleep(60)
        finally:
            signal.raise_signal(second)
            removed.append("a part")

    before = {number: signal.getsignal(number) for number in ENDINGS}
    result = CliRunner().invoke(waiting, [])
    assert (result.exit_code, removed) == (ENDINGS[first], ["a part"])
    assert result.stderr == "interrupted: no unfinished files remain\n"
    assert {number: signal.getsignal(number) for number in ENDINGS} == before


def test_an_ignored_signal_stays_ignored() -> None:
    @click.command(cls=Command)
    def hung_up() -> None:
        signal.raise_signal(signal.SIGHUP)
        click.echo("done")

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert CliRunner().invoke(hung_up, []).stdout == "done\n"
    finally:
        signal.signal(signal.SIGHUP, before)
