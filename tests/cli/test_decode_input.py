"""`zvae decode` from standard input: latents that came through a pipe are not lost when the decode fails."""

from __future__ import annotations

import io
import json
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from tests.cli.decoding import files, levels
from tests.support.running import run
from zvae_tiled import VAE
from zvae_tiled.cli import inputs
from zvae_tiled.cli.again import CHANGES
from zvae_tiled.cli.decode import decode


def test_standard_input_to_standard_output(place: Path) -> None:
    told = run("decode", "-", "-o", "-", "--budget", "13MB", stdin=(place / "a.npy").read_bytes())
    before = files(place)
    run("decode", "a.npy", "-o", "a.png", "--budget", "13MB", "-q")
    assert told.stdout_bytes == (place / "a.png").read_bytes()
    assert "written    standard output" in told.stderr
    assert before == {"a.npy", "b.npy", "vae"}


def test_latents_from_standard_input_are_kept_when_the_decode_fails(place: Path) -> None:
    sent = (place / "a.npy").read_bytes()
    said = run("decode", "-", "-o", "a.png", "--budget", "1kB", code=4, stdin=sent).stderr
    assert (place / "zvae-latents-1.npy").read_bytes() == sent
    (line,) = [line.strip() for line in said.splitlines() if line.strip().startswith("zvae decode")]
    run(*shlex.split(line)[1:])
    assert levels(place / "a.png", place / "a.npy")
    run("decode", "-", "-o", "a.png", "--budget", "1kB", code=4, stdin=sent)
    assert (place / "zvae-latents-2.npy").is_file()


def test_latents_that_a_shell_redirects_from_a_file_are_not_kept_if_they_are_still_there(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    latents, before = (place / "a.npy").read_bytes(), files(place)

    def fail(name: str = "a.npy", start: int = 0, change: Callable[[Path], object] = Path.exists) -> object:
        def block() -> None:
            change(place / name)
            raise BrokenPipeError

        with (place / name).open("rb") as file, click.Context(decode) as context:
            file.seek(start)
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(file))
            with pytest.raises(BrokenPipeError), inputs.standard_input(("b.npy", "-")):
                block()
        return context.meta[CHANGES]["latents"]

    if sys.platform == "linux":  # elsewhere a descriptor does not tell its file's name
        assert fail() == ["b.npy", "a.npy"]
        assert capsys.readouterr().err == "The latents from standard input are still in a.npy.\n"
        assert files(place) == before
        (place / "-x.npy").write_bytes(latents)
        assert fail("-x.npy") == ["b.npy", str(place / "-x.npy")], "which is no option"
    (place / "two").write_bytes(b"a header" + latents)
    assert fail("two", start=8) == ["b.npy", "zvae-latents-1.npy"], "not all that the file holds was meant"
    assert fail(change=lambda path: path.write_bytes(b"others")) == ["b.npy", "zvae-latents-2.npy"]
    assert (place / "zvae-latents-2.npy").read_bytes() == latents, "they are in no other file"
    (place / "a.npy").write_bytes(latents)
    assert fail(change=Path.unlink) == ["b.npy", "zvae-latents-3.npy"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_latents_from_standard_input_are_kept_when_the_decode_is_interrupted(
    place: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    monkeypatch.setattr(VAE, "decode_to_file", lambda *_, **__: signal.raise_signal(number))
    sent = (place / "a.npy").read_bytes()
    assert "are in zvae-latents-1.npy" in run("decode", "-", "-o", "a.png", code=code, stdin=sent).stderr
    assert (place / "zvae-latents-1.npy").read_bytes() == sent


def test_latents_from_standard_input_are_kept_elsewhere_when_the_folder_cannot_be_written(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "tmp"):
        (place / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(place / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(place / "tmp"))
    monkeypatch.chdir(place / "gone")
    (place / "gone").rmdir()
    sent = (place / "a.npy").read_bytes()
    said = run("decode", "-", "-o", place / "a.png", "--budget", "1kB", code=4, stdin=sent).stderr
    kept = place / "tmp" / "zvae-latents-1.npy"
    assert kept.read_bytes() == sent
    assert f"zvae decode {kept} --output" in said


def test_latents_from_standard_input_are_not_kept_over_a_file_that_appears(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "taken.npy").write_text("somebody else's")
    monkeypatch.setattr(inputs, "free_name", lambda *_: place / "taken.npy")
    said = run("decode", "-", "-o", "a.png", "--budget", "1kB", code=4, stdin=(place / "a.npy").read_bytes()).stderr
    assert "cannot be kept in" in said
    assert (place / "taken.npy").read_text() == "somebody else's"


def test_an_interrupt_says_how_many_are_done(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: VAE, latents: Any, files: list[str], **options: Any) -> Any:
        return signal.raise_signal(signal.SIGINT) if files == ["b.png"] else whole(self, latents, files, **options)

    whole = VAE.decode_to_file
    monkeypatch.setattr(VAE, "decode_to_file", interrupted)
    said = run("decode", "a.npy", "b.npy", "-o", "{stem}.png", "-q", code=130).stderr
    assert said == (
        "interrupted: no unfinished files remain\n1 of 2 are done, and their files are kept. The same command with "
        "--skip-existing does the others.\n"
    )


def test_only_what_failed_is_tried_again_when_standard_input_failed(place: Path) -> None:
    np.save(place / "large.npy", np.zeros((1, 4, 200, 400), np.float32))
    budget = json.loads(run("plan", "20x12", "--vae", "vae", "--json").stdout)["predicted"]["peak"]
    words = ("decode", "a.npy", "-", "-o", "out/", "--budget", f"{budget}B")
    said = run(*words, code=4, stdin=(place / "large.npy").read_bytes()).stderr
    assert "zvae decode zvae-latents-1.npy --output out/" in said
    said = run("decode", "large.npy", *words[2:], code=4, stdin=(place / "a.npy").read_bytes()).stderr
    assert "zvae decode large.npy --output out/" in said
    assert not (place / "zvae-latents-2.npy").exists(), "its picture is written"


def test_a_png_is_read_by_others(place: Path) -> None:
    told = run("decode", "a.npy", "-o", "-", "-q")
    with Image.open(io.BytesIO(told.stdout_bytes)) as image:
        assert (image.format, image.size) == ("PNG", (20, 12))
