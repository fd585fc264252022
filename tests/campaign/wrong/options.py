"""Every option and argument of every command with a wrong word: the exit codes of the page, and no traceback."""

from __future__ import annotations

import os
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from tests.campaign.part import Case
from tests.support.running import run, save_latents, save_vae
from zvae_tiled.cli.app import zvae

WORDS = (
    *(
        "",
        " ",
        "x",
        "-",
        "--",
        "-1",
        "0",
        "1",
        "3",
        "1.5",
        "-0.0",
        "nan",
        "inf",
        "1e400",
        "9" * 400,
        "٣",
        "１２",
        "0x10",
        "1_0",
    ),
    *(
        "8GB",
        "1B",
        "-8GB",
        "8XB",
        "8 GB",
        "1e3GB",
        "0%",
        "50%",
        "101%",
        "%",
        "GB",
        "None",
        "true",
        "null",
        "[]",
        "{}",
        "()",
    ),
    *(
        "4x4",
        "12x20",
        "0x0",
        "-4x4",
        "4x",
        "x4",
        "4x4x4",
        "99999999999x1",
        "1x99999999999",
        ".",
        "..",
        "/",
        "~",
        "*",
        "?",
    ),
    *(
        "[",
        "{stem}",
        "{bad}",
        "{",
        "a{stem}b{stem}",
        "missing",
        "missing/file.png",
        "a.npy",
        "vae",
        "other.json",
        "/dev/null",
    ),
    *(
        "/dev/full",
        "a.npy/x",
        "a" * 300,
        "é" * 200,
        "a\nb",
        "\x1b[31m",
        "\udcff",
        "cpu",
        "metal",
        "cuda",
        "exact",
        "sampled",
    ),
    *(
        "z-image",
        "demo",
        "float64",
        "int8",
        "tcp://x",
        "a.txt",
        "a.png",
        "a.safetensors",
        "a.svg",
        "plan.json",
        "$HOME",
        "%s",
    ),
)
"""Words that a shell may hand over. None asks for long work."""

BASE: dict[str, tuple[list[str], list[str]]] = {
    "demo": ([], ["--size", "64", "-q"]),
    "decode": (["a.npy"], ["-o", "a.png", "-q"]),
    "plan": (["12x20"], ["--vae", "vae"]),
    "encode": (["picture.npy"], ["-o", "a.safetensors", "-q"]),
    "compare": (["picture.npy", "picture.npy"], ["-q"]),
    "inspect": (["a.npy"], []),
    "mflux": (["mflux-generate"], []),
    "calibrate": ([], ["-q"]),
    "benchmark": ([], ["-q"]),
    "selfcheck": ([], ["-q"]),
    "doctor": ([], []),
    "work": ([], []),
    "video": (["a.npy"], ["-o", "%05d.png", "-q"]),
}
"""The arguments and options with which each command works."""

WITH = {
    **dict.fromkeys(("tile", "overlap", "ramp", "moments"), ("--quality", "tiles")),
    **dict.fromkeys(("keys", "tolerance"), ("--quality", "sampled")),
    "tiny": ("--preview",),
    "allow": ("--cluster", "nowhere"),
    "reference": ("--vae", "vae"),
}
"""Options without which another has no meaning."""

CODES = (0, 2, 3, 4, 5)
"""Ends of a command with wrong words. 6 is that of a decode that fails, or of an error that nobody foresaw."""


@cache
def targets() -> list[tuple[str, int]]:
    """Return each command with the number of each of its parameters."""
    return [(name, number) for name, command in zvae.commands.items() for number in range(len(command.params))]


def words_for(name: str, param: click.Parameter, word: str) -> list[str]:
    """Return the command line in which one parameter has this word."""
    arguments, options = BASE[name]
    if isinstance(param, click.Argument):
        place = [each for each in zvae.commands[name].params if isinstance(each, click.Argument)].index(param)
        # A word that looks like an option is one for click, which is what a user's shell would give it too.
        return [name, *arguments[:place], word, *arguments[place + 1 :], *options]
    option: Any = param
    flag = [f"{option.opts[0]}={word}"] if option.is_flag else [option.opts[0], word]
    return [name, *arguments, *options, *WITH.get(param.name or "", ()), *flag]


def attempt(case: Case) -> None:
    """Run one command with one wrong word."""
    (name, number), word = case.pair(targets(), WORDS)
    words = words_for(name, zvae.commands[name].params[number], word)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(case.folder)
        _set_up(patch)
        result = CliRunner().invoke(zvae, words)
    said = result.output[-2000:]
    assert isinstance(result.exception, SystemExit | None), f"{words} raises {result.exception!r}"
    assert result.exit_code in CODES, f"{words} ends with {result.exit_code}: {said}"
    assert "Traceback" not in said, said
    assert "Unexpected error" not in said, f"{words}: {said}"
    assert result.exit_code == 0 or "rror:" in result.output or "Usage" in result.output, (
        f"{words} does not say why: {said}"
    )


@cache
def _kept(folder: str) -> Path:
    """Return a folder with all that commands need, which is copied for each case."""
    kept = Path(folder) / "zvae-options"
    save_vae(kept / "vae")
    save_latents(kept / "a.npy", 6, 10)
    np.save(kept / "picture.npy", np.random.default_rng(0).random((12, 20, 3), np.float32))
    shutil.copy(kept / "vae" / "config.json", kept / "other.json")
    (kept / "plan.json").write_text(run("plan", "20x12", "--vae", str(kept / "vae"), "--json").stdout)
    return kept


def _set_up(patch: pytest.MonkeyPatch) -> None:
    shutil.copytree(_kept(os.environ["TMPDIR"]), ".", dirs_exist_ok=True)
    patch.setenv("ZVAE_VAE", "vae")
    patch.setenv("HF_HUB_CACHE", "hub")
    patch.setattr(sys, "argv", ["zvae"])
    # What takes from ten seconds to minutes, and is tested elsewhere.
    patch.setattr("zvae_tiled.jobs.limits.measure", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    patch.setattr("zvae_tiled.report.figures.self_benchmark", lambda *_: {"rows": []})
    patch.setattr("zvae_tiled.cli.selfcheck.checked", lambda *_: {"rows": [], "parity": {"skipped": "a test"}})
