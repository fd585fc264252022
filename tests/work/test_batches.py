"""A batch of a VAE with linear attentions, stopped in each of them and as each picture is written: the same bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.models import TINY_DC, random_latents, random_vae
from tests.support.plans import plan_for, with_rows
from tests.work.stopping import written
from zvae_tiled.engine.checkpoints import Checkpoints
from zvae_tiled.engine.sums import Sums

ATTENTIONS = "EfficientViTBlock"
CONFIG = replace(TINY_DC, attention_head_dim=2, encoder_block_types=ATTENTIONS, decoder_block_types=ATTENTIONS)
NAMES = ("a.npy", "b.png")


def test_every_linear_attention_and_every_picture_of_a_batch_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is stopped at its second note. Of an attention's sums the journal has none until all rows are there."""
    monkeypatch.setattr("zvae_tiled.engine.checkpoints.SECONDS", 0.0)
    monkeypatch.setattr("zvae_tiled.sinks.png.BLOCK", 1 << 7)
    vae, latents = random_vae(CONFIG), random_latents(CONFIG, 9, 3, batch=2)
    plan = with_rows(plan_for(vae, latents.shape, Random(0), ("disk",)), 3)
    places, notes = [tmp_path / name for name in NAMES], Counter[tuple[int, int]]()
    vae.decode_to_file(latents, places, plan=plan)
    want = written(tmp_path)

    def stop(self: Checkpoints) -> None:
        notes[self.picture, self.sweep] += 1
        if notes[self.picture, self.sweep] == 2:
            raise KeyboardInterrupt

    def passed(self: Checkpoints, rows: int, moments: Any, act: Any = Checkpoints.passed) -> None:
        act(self, rows, moments)
        if isinstance(moments, Sums):
            stop(self)

    def wrote(self: Checkpoints, rows: int, states: Any, act: Any = Checkpoints.written) -> None:
        act(self, rows, states)
        stop(self)

    monkeypatch.setattr(Checkpoints, "passed", passed)
    monkeypatch.setattr(Checkpoints, "written", wrote)
    attentions = sum(step.kind == "linear" for step in CONFIG.chain("decode").steps)
    assert attentions
    for _ in range(2 * (attentions + 1)):
        with pytest.raises(KeyboardInterrupt):
            vae.decode_to_file(latents, places, plan=plan, work=tmp_path / "work")
        assert not written(tmp_path)
    assert vae.decode_to_file(latents, places, plan=plan, work=tmp_path / "work").went_on
    assert written(tmp_path) == want
