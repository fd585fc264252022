"""How commands end: exit codes, messages instead of tracebacks, Ctrl-C and SIGTERM, and data through pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import weakref
from contextlib import suppress
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from tests.support.running import COMMAND, environment, process, run, save_latents
from zvae_tiled import errors
from zvae_tiled.cli.command import Command, exit_code
from zvae_tiled.cli.endings import ENDINGS

MEANINGS: dict[type, str] = {
    errors.BudgetError: "budget",
    errors.OutputError: "output",
    errors.MissingFolderError: "output",
    errors.SilentFailureError: "decode",
    errors.ToleranceError: "decode",
    errors.OutOfMemoryError: "decode",
}
"""Names that the help text gives to the exit codes of errors. All other errors have the code of "bad input"."""


@pytest.fixture(scope="module")
def codes() -> dict[str, int]:
    """The exit codes that the help text names, by their meanings."""
    told = " ".join(run("--help").stdout.split()).partition("Exit codes: ")[2].partition(".")[0]
    pairs = [each.split(" ", 1) for each in told.split(", ")]
    return {meaning: int(code) for code, meaning in pairs}


@pytest.mark.parametrize("error", [each for each in vars(errors).values() if isinstance(each, type)])
def test_every_error_has_the_code_that_the_help_names(error: type[Exception], codes: dict[str, int]) -> None:
    assert exit_code(error("why")) == codes[MEANINGS.get(error, "bad input")]


def test_an_error_nobody_expected_is_that_of_a_decode(codes: dict[str, int]) -> None:
    assert exit_code(RuntimeError("why")) == codes["decode"]


def test_success_usage_and_an_interrupt_have_the_codes_that_the_help_names(codes: dict[str, int]) -> None:
    assert codes["ok"] == 0
    run("plan", "wide", code=codes["usage"])
    assert CliRunner().invoke(failing, ["interrupt"]).exit_code == codes["interrupted"]
    assert len(set(codes.values())) == len(codes)


@click.command(cls=Command)
@click.option("--budget")
@click.option("--dtype", default="bfloat16")
@click.argument("kind")
def failing(kind: str, budget: str | None, dtype: str) -> None:
    if kind == "terminate":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    if kind in ("freed", "freed twice"):
        for _ in range(1 + (kind == "freed twice")):
            block = np.zeros(1)
            weakref.finalize(block, signal.raise_signal, signal.SIGTERM)
            del block  # Python drops what a signal raises here
        time.sleep(60)
    raise {
        "device": errors.SilentFailureError("zeros twice"),
        "allocator": RuntimeError("[malloc] Unable to allocate 99 bytes"),
        "odd": RuntimeError("why"),
        "interrupt": KeyboardInterrupt(),
        "broken": errors.BlasError("no such library\nat all", "Unset it."),
    }[kind]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["device"], 6, "    failing --dtype float32 device"),
        (["device", "--dtype", "float16"], 6, "    failing --dtype bfloat16 device"),
        (["allocator", "--budget", "8GB"], 6, "    failing --budget 25% allocator"),
        (["odd"], 6, "error: RuntimeError: why\nUnexpected error. Run again with --debug for the traceback, and"),
        (["broken"], 3, "error: [blas] no such library\n              at all\n              Unset it."),
        (["terminate"], 143, "interrupted: no unfinished files remain"),
        (["freed"], 143, "interrupted: no unfinished files remain"),
        (["freed twice"], 143, "interrupted: no unfinished files remain"),
        (["interrupt"], 130, "interrupted: no unfinished files remain"),
    ],
)
def test_what_is_said(words: list[str], code: int, said: str) -> None:
    result = CliRunner().invoke(failing, words, prog_name="failing")
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_help_is_a_word_too() -> None:
    for word, option in ((("help",), ("--help",)), (("help", "plan"), ("plan", "--help"))):
        assert run(*word).stdout == run(*option).stdout
    assert "No such command 'decod'" in run("help", "decod", code=2).stderr


def test_float32_that_fails_has_no_next_command() -> None:
    assert "Try this" not in CliRunner().invoke(failing, ["device", "--dtype", "float32"]).stderr


def test_debug_shows_the_traceback_and_keeps_the_code() -> None:
    result = CliRunner().invoke(failing, ["odd", "--debug"])
    assert result.exit_code == 6
    assert "Traceback" in result.stderr
    assert "test_ends.py" in result.stderr


def test_sigterm_has_its_old_meaning_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    run("plan", "512", "--budget", "1GB")
    assert signal.getsignal(signal.SIGTERM) is before


def test_codes_reach_the_shell(place: Path) -> None:
    done = process(["decode", "a.npy", "-o", "a.png", "--budget", "1kB"])
    assert (done.returncode, done.stdout) == (4, b"")
    assert b"Traceback" not in done.stderr
    assert process(["decode"]).returncode == 2


def test_a_picture_goes_through_a_pipe_and_nothing_else_does(place: Path) -> None:
    with (place / "a.npy").open("rb") as latents:
        done = process(["decode", "-", "-o", "-"], stdin=latents)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"\x89PNG")
    assert done.stdout.endswith(b"IEND\xaeB`\x82")
    assert b"\x1b[" not in done.stderr, "nobody watches: no bar"


@pytest.mark.parametrize(
    "words", [["plan", "512", "--budget", "1GB"], pytest.param(["inspect", "a.npy"], marks=pytest.mark.slow)]
)
def test_output_that_nobody_reads_ends_it_quietly(place: Path, words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([*COMMAND, *words], stdout=writer, stderr=subprocess.PIPE, env=environment(), check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def unfinished(place: Path, process: int) -> int:
    """Return the bytes of unfinished pictures: of parts, or of files of this process that have no name yet."""
    sizes = [part.stat().st_size for part in place.glob(".zvae-*.part")]
    for handle in Path(f"/proc/{process}/fd").glob("*"):
        with suppress(OSError):  # closed meanwhile
            if os.readlink(handle).startswith(f"{place}/") and os.readlink(handle).endswith(" (deleted)"):
                sizes.append(handle.stat().st_size)
    return sum(sizes)


KILLED = """
import os, signal, sys
from zvae_tiled.cli.app import zvae
from zvae_tiled.files import new_file, parts
if sys.argv.pop(1) == "named":
    parts._unnamed = lambda *_: None
finish, count = new_file.NewFile.finish, 0
def killed(self):
    global count
    finish(self)
    count += 1
    if count == 2:
        os.kill(os.getpid(), signal.SIGKILL)
new_file.NewFile.finish = killed
zvae(prog_name="zvae")
"""


@pytest.mark.parametrize("kind", ["unnamed", pytest.param("named", marks=pytest.mark.slow)])
def test_a_batch_that_was_killed_leaves_nothing_that_stays(place: Path, kind: str) -> None:
    if kind == "unnamed" and not hasattr(os, "O_TMPFILE"):
        pytest.skip("only Linux has files without names")
    save_latents(place / "c.npy", batch=3)
    before = sorted(path.name for path in place.iterdir())
    words = [sys.executable, "-c", KILLED, kind, "decode", "c.npy", "-o", "c.png"]
    assert subprocess.run(words, capture_output=True, env=environment()).returncode == -signal.SIGKILL
    assert len(list(place.glob(".zvae-*"))) == (0 if kind == "unnamed" else 2)
    if kind == "named":
        assert process(["plan", "64", "--budget", "1GB", "--plot", "plan.svg"]).returncode == 0
        (place / "plan.svg").unlink()
    assert sorted(path.name for path in place.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_decode_leaves_nothing_behind(place: Path, number: signal.Signals) -> None:
    save_latents(
        place / "large.npy", 60, 60, batch=10
    )  # many pictures, so that the interrupt comes in the first one, however slow this process is
    before = sorted(path.name for path in place.iterdir())
    words = [*COMMAND, "decode", "large.npy", "-o", "large.png", "--spill-folder", ".", "--dtype", "float32"]
    slow = environment() | {"ZVAE_KERNELS": "mlx"}
    with subprocess.Popen(words, stderr=subprocess.PIPE, env=slow) as child:
        while not unfinished(place, child.pid) and child.poll() is None:
            time.sleep(0.01)
        child.send_signal(number)
        said = child.communicate()[1]
    assert child.returncode == ENDINGS[number], said
    assert said == b"interrupted: no unfinished files remain\n"
    assert sorted(path.name for path in place.iterdir()) == before
