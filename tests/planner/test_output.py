"""A plan for files, made before there are latents: it counts what a decode into these files counts."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from tests.support.models import random_latents, random_vae
from tests.support.running import CONFIG, save_vae
from zvae_tiled import plan
from zvae_tiled.errors import BudgetError, ConfigError, InputError, OutputError, WeightsError
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


def test_a_plan_from_shapes_counts_the_files_too() -> None:
    shapes = partial(plan, CONFIG, dtype="float32", task="stream")
    assert needed(shapes, *SIDES, output="x.npy") == needed(shapes, *SIDES)
    names = ["x.webp", "y.png"]
    assert needed(shapes, *SIDES, output=names) - needed(shapes, *SIDES) == needed(
        VAE.plan, *SIDES, task="stream", output=names
    ) - needed(VAE.plan, *SIDES, task="stream")


@pytest.mark.parametrize("source", ["folder", "file", "index", "config"])
def test_a_plan_is_made_for_a_vae_wherever_it_is(source: str, tmp_path: Path) -> None:
    folder = save_vae(tmp_path / "vae")
    file = folder / "diffusion_pytorch_model.safetensors"
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    if source == "index":
        index.write_text(json.dumps({"weight_map": dict.fromkeys(mx.load(str(file)), file.name)}))
    named = {"folder": folder, "file": file, "index": index, "config": folder / "config.json"}
    found = plan(named[source], *SIDES, "1GB", dtype="float32")
    assert found == plan(CONFIG, *SIDES, "1GB", dtype="float32")


@pytest.mark.parametrize("name", ["", "nowhere", "OWNER/MODEL", "a/b/c.safetensors"])
def test_a_plan_for_no_vae_is_refused(name: str) -> None:
    with pytest.raises((ConfigError, WeightsError)):
        plan(name, *SIDES, "1GB")


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
