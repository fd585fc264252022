"""The table of Steps: every kind of Step of a decoder is measured, at its widest map."""

from __future__ import annotations

from benchmarks.steps import widest_of
from zvae_tiled.families import config_of


def test_every_kind_of_step_is_measured_at_its_widest() -> None:
    chain = config_of("z-image").chain("decode")
    widest = widest_of(chain)
    assert {(step.kind, step.inputs, step.outputs, step.upsample, step.skip) for step in widest} == {
        (step.kind, step.inputs, step.outputs, step.upsample, step.skip) for step in chain.steps
    }
    assert max(widest.values()) == 8
    assert {step.shortcut is None for step in widest} == {True, False}
