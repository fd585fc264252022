"""The judges of the campaign find what they look for: each wrong end is planted."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest

from tests.campaign.held import ROOM, WARM, Rounds
from tests.campaign.part import Case
from tests.campaign.rows import bits as decodes
from tests.campaign.rows import kills
from tests.campaign.struck import runs
from tests.campaign.struck.client import judge
from tests.support.models import random_latents, random_vae
from tests.support.running import CONFIG
from tests.support.striped import striped_rows
from zvae_tiled.devices.native_cpu.choice import THREADS, VARIABLE
from zvae_tiled.errors import OutOfMemoryError
from zvae_tiled.families.pixel_space import PixelSpaceConfig

DONE = {"kept": True, "before": [3, 0], "after": [3, 0], "left": ["a.png"], "ended": "done", "digest": "1", "want": "1"}
REFUSED = {**DONE, "ended": "refused", "left": [], "digest": None, "again": DONE}


def test_the_judges_own_copy_of_a_result_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> bytes:
        raise MemoryError

    latents = random_latents(CONFIG, 2, 2)
    given = SimpleNamespace(loaded=lambda: random_vae(CONFIG), latents=latents)
    monkeypatch.setattr(runs, "bits", fails)
    with pytest.raises(OutOfMemoryError, match="the campaign's own copy"):
        runs.OTHERS["an array"](given, Path("/var/tmp"))  # type: ignore[arg-type]


def test_runs_that_end_well_pass() -> None:
    judge("", DONE, "a PNG")
    judge("", REFUSED, "a PNG")
    judge("", {**REFUSED, "left": ["work"]}, "a work folder")


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({**DONE, "ended": "escaped", "said": "RuntimeError"}, "RuntimeError"),
        ({**DONE, "ended": "died", "said": "SIGABRT"}, "SIGABRT"),
        ({**DONE, "digest": "2"}, "wrong bytes"),
        ({**DONE, "kept": False}, "latents are changed"),
        ({**DONE, "after": [4, 0]}, "left in the process"),
        ({**REFUSED, "left": ["a.png"]}, "files are left"),
        ({**REFUSED, "left": ["work"]}, "files are left"),
        ({**REFUSED, "again": {**DONE, "ended": "refused"}}, "cannot be repeated"),
        ({**REFUSED, "again": {**DONE, "digest": "2"}}, "wrong bytes when it is repeated"),
    ],
)
def test_a_wrong_end_of_a_run_is_found(found: dict[str, Any], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        judge("", found, "a PNG")


def test_other_bits_of_stripes_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, THREADS):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(decodes, "WAYS", ("alone", "stripes"))
    monkeypatch.setattr(decodes, "random_any", lambda _: PixelSpaceConfig(3))  # it takes no time
    monkeypatch.setattr(decodes, "native_status", lambda: SimpleNamespace(runs=()))  # the same draws everywhere
    decodes.attempt(Case(0, Random(0), tmp_path))
    monkeypatch.setattr(decodes, "striped_rows", lambda *given: mx.abs(striped_rows(*given) - 1e-7))
    with pytest.raises(AssertionError, match="stripes"):
        decodes.attempt(Case(0, Random(0), tmp_path))


WANT = dict.fromkeys(kills.FILES, b"whole")
OLD = dict.fromkeys(kills.FILES, kills.OLD)
KILL, TERM = [(0.1, signal.SIGKILL)], [(0.1, signal.SIGTERM)]


def ended(folder: Path, files: dict[str, bytes], sent: Any, code: int, old: bool = False, work: bool = False) -> None:
    (folder / "temporary").mkdir(exist_ok=True)
    for name, content in {"told": b"", **files}.items():
        (folder / name).write_bytes(content)
    kills.check(folder, WANT, sent, code, "", old, work)


def test_kills_that_end_well_pass(tmp_path: Path) -> None:
    ended(tmp_path, {}, KILL, -9)
    ended(tmp_path, {"a.png": b"whole"}, KILL, -9)
    ended(tmp_path, {**OLD, ".zvae-1.part": b"whole", ".zvae-2.old": kills.OLD}, KILL, -9, old=True)
    (tmp_path / ".zvae-1.part").unlink()
    (tmp_path / ".zvae-2.old").unlink()
    ended(tmp_path, WANT, TERM, 143)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda folder: ended(folder, {"a.png": b"who"}, KILL, -9),
        lambda folder: ended(folder, {"a.png.part": b""}, KILL, -9),
        lambda folder: ended(folder, {"a.png": b"whole"}, TERM, 143),
        lambda folder: ended(folder, {}, TERM, 1),
        lambda folder: ended(folder, {}, TERM, 143, old=True),
        lambda folder: ended(folder, {}, KILL, -9, old=True),
        lambda folder: ended(folder, {**OLD, ".zvae-1.part": b"who"}, KILL, -9, old=True),
        lambda folder: ended(folder, {".zvae-1.part": b"whole"}, KILL, -9),
        lambda folder: ended(folder, {**OLD, ".zvae-1.old": kills.OLD}, TERM, 143, old=True),
        lambda folder: ended(folder, {}, [], 0),
        lambda folder: ended(folder / "temporary" / "..", {"temporary/map": b""}, KILL, -9),
    ],
)
def test_a_wrong_end_of_a_kill_is_found(wrong: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    with pytest.raises(AssertionError):
        wrong(tmp_path)


@pytest.mark.parametrize("name", ROOM)
def test_growth_is_found(name: str) -> None:
    warm, rounds = {"memory": 100 << 20, "descriptors": 9, "threads": 4}, Rounds()
    for _ in range(WARM):
        rounds.add([warm])
    rounds.add([{**warm, name: warm[name] + ROOM[name]}])
    with pytest.raises(AssertionError, match="process 0"):
        rounds.add([{**warm, name: warm[name] + ROOM[name] + 1}])


@pytest.mark.parametrize(("each", "found"), [(0, False), (1 << 17, True)])
def test_slow_growth_is_found_and_a_slow_start_is_none(each: int, found: bool) -> None:
    """All memory is there after 40 rounds, or grows on by a little in each."""
    rounds, least = Rounds(), 100 << 20
    with pytest.raises(AssertionError) if found else nullcontext():
        for number in range(200):
            rounds.add([{"memory": least + min(number, 40) * 300_000 + number * each}])
