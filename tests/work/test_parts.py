"""Work folders whose parts of pictures are damaged: where bytes that a note vouches for are gone, nothing goes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.models import random_latents
from tests.support.plans import plan_for, with_rows
from tests.work.stopping import CONFIG, MODEL, written
from zvae_tiled.devices import cores
from zvae_tiled.engine import checkpoints
from zvae_tiled.errors import OutputError
from zvae_tiled.sinks import png, tiff
from zvae_tiled.sinks.kinds import KINDS

ENDINGS = sorted({kind: ending for ending, kind in KINDS.items() if kind.resumes}.values())
LATENTS = random_latents(CONFIG, 36, 3, batch=2)
PLAN = with_rows(plan_for(MODEL, LATENTS.shape, Random(1), ("disk",)), 4)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note after every band, and blocks and tiles of a few rows, which are compressed one after the other."""
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(cores, "_cores", lambda: 1)
    monkeypatch.setattr(png, "BLOCK", 1 << 8)
    monkeypatch.setattr(tiff, "TILE", 16)


def decode(folder: Path, **options: Any) -> None:
    """Decode into every format that can go on."""
    MODEL.decode_to_file(LATENTS, [folder / f"a{ending}" for ending in ENDINGS], plan=PLAN, **options)


def stopped(folder: Path) -> None:
    """Stop in the second picture, as soon as a note vouches for rows of it in every format."""
    note = checkpoints.Checkpoints.written

    def noted(self: checkpoints.Checkpoints, rows: int, states: Sequence[Sequence[Any]]) -> None:
        note(self, rows, states)
        if self.picture == 1 and all(pictures[-1] for pictures in self.outputs):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "written", noted)
        with pytest.raises(KeyboardInterrupt):
            decode(folder, work=folder / "work")


def damaged(part: Path, rng: Random) -> Iterator[str]:
    """Shorten a part, empty it and remove it, one after the other."""
    size = part.stat().st_size
    for left in (size - 1, rng.randint(1, size - 2), 0):
        os.truncate(part, left)
        yield f"{part.name}: {left} of {size} bytes"
    part.unlink()
    yield f"{part.name} is gone"


def test_a_damaged_part_goes_back_or_is_refused(tmp_path: Path) -> None:
    """Of the complete picture and of the current one, in each format. A picture that is written is right."""
    decode(tmp_path)
    want = written(tmp_path)
    stopped(tmp_path)
    work, kept, rng, refused = tmp_path / "work", tmp_path / "kept", Random(0), list[str]()
    shutil.copytree(work, kept)
    names = sorted(path.name for path in kept.glob("part-*"))
    assert len(names) == len(want) == 2 * len(ENDINGS)
    for name in names:
        for damage in damaged(work / name, rng):
            try:
                decode(tmp_path, work=work)
                assert written(tmp_path) == want, damage
            except OutputError as error:
                assert f"zvae work --remove {work}" in str(error)
                assert not written(tmp_path), damage
                refused.append(damage)
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(kept, work)
    assert len(refused) > 3 * len(names), "of four damages, all but the smallest take what a note vouches for"
    decode(tmp_path, work=work)
    assert written(tmp_path) == want, "a refused decode left files that can be gone on with"
