"""A plan for files, made before there are latents: it counts what a decode into these files counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.models import random_latents, random_vae
from tests.support.running import CONFIG
from zvae_tiled.errors import BudgetError, InputError, OutputError
from zvae_tiled.sinks.kinds import KINDS

VAE = random_vae(CONFIG)
LATENTS = random_latents(CONFIG, 2, 90)
SIDES = (4, 180)


def needed(planned: Any, *args: Any, **options: Any) -> int:
    """The smallest budget that works."""
    with pytest.raises(BudgetError) as refused:
        planned(*args, budget="1B", **options)
    return refused.value.needed


def test_the_smallest_budget_is_that_of_the_decode_into_these_files(tmp_path: Path) -> None:
    output = [tmp_path / f"x{ending}" for ending in KINDS]
    want = needed(VAE.decode_to_file, LATENTS, output)
    assert needed(VAE.plan, *SIDES, task="stream", output=output) == want
    assert needed(VAE.plan, *SIDES, task="stream") < want


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"output": "x.gif"}, OutputError, "not as '.gif'"),
        ({"output": ["x.png", "x.webp"], "bits": 16}, OutputError, "x.webp: bits= must be 8"),
        ({"output": []}, InputError, "output must be a path or a list of them, the list is empty"),
        ({"output": ["x.png", "./x.png"]}, OutputError, "Several files would be written to"),
        ({"output": 3}, InputError, "output must be a path, it is 3"),
        ({"bits": 16}, InputError, "output names no file"),
        ({"output": "x.png", "task": "decode"}, InputError, 'Set task="stream"'),
        ({"output": "x.png", "task": "encode"}, InputError, 'Set task="stream"'),
    ],
)
def test_what_is_no_output_is_refused(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as refused:
        VAE.plan(*SIDES, **{"task": "stream", **options})
    assert said in str(refused.value)
