"""Work folders whose journals or maps are damaged: the decode goes on and is right, or it is refused."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.campaign.mutations import damaged, reasons
from tests.campaign.part import Case
from tests.work.stopping import LATENTS, LOW, MODEL, decode, stopped
from zvae_tiled.engine import checkpoints
from zvae_tiled.errors import OutputError

STOPS = (3, 14, 30, 50, 66)
"""Bands after which the decodes were interrupted whose folders are damaged."""


@cache
def _kept(bands: int) -> Path:
    """Return a folder in which a decode was interrupted."""
    folder = Path(tempfile.mkdtemp(prefix="zvae-journals-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "SECONDS", 0.0)
        stopped(folder, bands, **LOW)
    return folder


@cache
def _want() -> np.ndarray:
    return np.asarray(MODEL.decode(LATENTS, "np")[0])


def attempt(case: Case) -> None:
    """Damage the journal, and decode."""
    bands = case.rng.choice(STOPS)
    shutil.copytree(_kept(bands) / "work", case.folder / "work")
    journal = case.folder / "work" / "journal"
    journal.write_bytes(damaged(case.rng, journal.read_bytes()))
    try:
        found = decode(case.folder, **LOW)
    except OutputError as error:
        reasons(error)
        assert not (case.folder / "a.npy").exists()
        return
    assert np.array_equal(found, _want()), "other bytes"
