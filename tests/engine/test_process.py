"""The process itself: the system sees it grow by at most the prediction, weights included."""

from __future__ import annotations

import os

import pytest

from benchmarks.process_child import FORGET
from benchmarks.suites.process import is_kept, measured, predicted, room_left
from benchmarks.trials import DEMO, FLAT, Trial, random_trial
from tests.support.models import narrow
from zvae_tiled import VAE, Sampled, Tiles
from zvae_tiled.devices.cores import MOST

pytestmark = [
    pytest.mark.skipif(not os.access(FORGET, os.W_OK), reason="this system keeps no mark that can be wiped"),
    pytest.mark.usefixtures("installed_bytecode"),
]

DEMO_CONFIG = VAE.demo().config

TRIALS = {
    "freed blocks that fit nothing": Trial("flat", FLAT, 600, 1000, task="encode", share=1.2),
    "maps that are spilled": Trial(DEMO, DEMO_CONFIG, 40, 100, end="np"),
    "room in the budget for a cache": Trial(DEMO, DEMO_CONFIG, 24, 64, share=1.5, shared=True),
    "tiles, into a file": Trial(DEMO, DEMO_CONFIG, 30, 40, "bfloat16", end=".png", quality=Tiles()),
    "a stream, whose rows somebody takes": Trial("flat", FLAT, 500, 400, "float16", end="stream", batch=2),
    "sampled keys": Trial(DEMO, DEMO_CONFIG, 90, 100, "bfloat16", end="np", share=1, quality=Sampled(1000)),
    "sampled keys, on disk": Trial(DEMO, DEMO_CONFIG, 90, 100, end=".png", quality=Sampled(1000)),
    "a picture that is copied, and not twice": Trial(
        "narrow cogview4", narrow("cogview4"), 56, 277, task="encode", share=0.1, shared=True
    ),
    "Pillow's code": Trial("flat", FLAT, 4, 6, end=".webp"),
}
QUICK = ("Pillow's code",)
"""What the default run tries."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in TRIALS]
)
def test_a_process_grows_by_what_was_predicted_at_most(name: str) -> None:
    check(TRIALS[name])


@pytest.mark.slow
def test_the_stacks_of_hundreds_of_threads_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZVAE_THREADS", str(MOST))
    check(Trial("flat", FLAT, 600, 1000, end="np", share=1))


@pytest.mark.slow
def test_a_process_that_takes_too_much_would_be_seen() -> None:
    row = measured(Trial("flat", FLAT, 600, 1000, end="np", share=1), {})
    assert is_kept(row)
    assert 0 <= room_left(row) < 0.2 * predicted(row)


@pytest.mark.slow
@pytest.mark.parametrize("tens", range(20, 40))  # the first 200 are those of docs/benchmarks.md
def test_200_random_trials(tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        check(random_trial(seed))


def check(trial: Trial) -> None:
    row = measured(trial, {})
    assert is_kept(row), f"{room_left(row):,} bytes left of {row.predicted_peak:,}, budget {row.budget:,}: {trial}"
