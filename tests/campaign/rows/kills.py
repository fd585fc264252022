"""Kills at random moments: no half-written file, nothing left; with a work folder the same bytes after all."""

from __future__ import annotations

import signal
import tempfile
import time
from functools import cache, partial
from pathlib import Path
from random import Random

from tests.campaign.killed import SIGNALS, decode
from tests.campaign.part import Case, Part
from tests.support.running import save_latents, save_vae
from zvae_tiled.cli.endings import ENDINGS

FILES = ("a.png", "b.tif", "c.npy")
OLD = b"what was there before"
SIDES = (40, 30)
"""Rows and columns of the latents: a decode of them takes some tenths of a second."""


@cache
def given() -> Path:
    """Return a folder with a VAE and latents."""
    folder = Path(tempfile.mkdtemp(prefix="given-"))
    save_vae(folder / "vae")
    save_latents(folder / "a.npy", *SIDES)
    return folder


def words(work: bool) -> list[str | Path]:
    """Return the arguments of the decode."""
    outputs = [word for name in FILES for word in ("-o", name)]
    kept = ["--work", "work"] if work else []
    return [
        "decode",
        given() / "a.npy",
        "--vae",
        given() / "vae",
        "--dtype",
        "float32",
        "--budget",
        "1GB",
        *outputs,
        *kept,
    ]


@cache
def whole(work: bool) -> tuple[dict[str, bytes], float]:
    """Return what a decode that nothing ends writes, and its seconds."""
    folder = Path(tempfile.mkdtemp(prefix="whole-"))
    began = time.monotonic()
    code = decode(words(work), folder)
    seconds = time.monotonic() - began
    assert code == 0, (folder / "told").read_text()
    return {name: (folder / name).read_bytes() for name in FILES}, seconds


def drawn(rng: Random, seconds: float) -> list[tuple[float, signal.Signals]]:
    """Draw a signal at any moment of a decode, and often a second one soon after it."""
    first = [(rng.uniform(0, seconds), rng.choice(SIGNALS))]
    return [*first, (rng.choice([0.0, rng.uniform(0, 0.05)]), rng.choice(SIGNALS))] if rng.random() < 0.5 else first


def attempt(case: Case, work: bool) -> int:
    """Kill a decode. With a work folder, decode and kill again until the pictures are there; return the kills."""
    want, seconds = whole(work)
    old, kills, code = case.rng.random() < 0.5 and not work, 0, 0
    while kills == 0 or (work and code != 0):
        for path in [path for path in case.folder.iterdir() if path.is_file()]:
            path.unlink()
        for name in FILES if old else ():
            (case.folder / name).write_bytes(OLD)
        sent = drawn(case.rng, seconds) if kills < 20 else []
        code = decode(words(work), case.folder, sent)
        told = f"{sent}, exit code {code}: {(case.folder / 'told').read_text()}"
        check(case.folder, want, sent, code, told, old, work)
        kills += code != 0  # a signal may come too late
    return kills


def check(
    folder: Path,
    want: dict[str, bytes],
    sent: list[tuple[float, signal.Signals]],
    code: int,
    told: str,
    old: bool,
    work: bool,
) -> None:
    """Raise what is wrong with how a killed decode ended."""
    numbers = [number for _, number in sent]
    assert code in {0, *(-number for number in numbers), *(ENDINGS[n] for n in numbers if n in ENDINGS)}, told
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    found.pop("told")
    before = dict.fromkeys(FILES, OLD) if old else {}
    sizes = {name: len(content) for name, content in found.items()}
    told = f"{told}\nthere: {sizes}, {'files' if old else 'nothing'} before"
    assert list((folder / "temporary").iterdir()) == [], told
    if code == 0:
        assert found == want, told
        assert not (folder / "work").exists(), told
    elif signal.SIGKILL in numbers:  # files get their names one after the other, by hidden names (docs/files.md)
        assert before.keys() <= found.keys(), told
        for name, content in found.items():
            hidden = name.startswith(".zvae-") and old
            assert content in ([OLD, *want.values()] if hidden else [want.get(name), before.get(name)]), (
                f"{name}: {told}"
            )
    else:
        assert found in (before, want), told
    folders = {path.name for path in folder.iterdir() if path.is_dir()} - {"temporary"}
    assert folders <= ({"work"} if work else set()), f"{folders} {told}"


PARTS = (
    Part(
        "lost",
        "SIGKILL, SIGTERM, SIGINT or SIGHUP at a random moment of a decode without a work folder, half of them twice",
        500,
        12,
        partial(attempt, work=False),
    ),
    Part(
        "resumed",
        "the same with a work folder: decoded again, and killed again, until the pictures were there",
        400,
        12,
        partial(attempt, work=True),
    ),
)
