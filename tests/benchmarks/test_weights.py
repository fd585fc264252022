"""Random weights of the races: with the names and shapes of diffusers, for every family."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors import safe_open

from benchmarks.weights import WEIGHTS, save_random_vae
from zvae_tiled import VAE, config_of

DATA = Path(__file__).parents[1] / "data"
FOLDERS = sorted(path.parent for path in DATA.glob("*/config.json"))


def shapes(folder: Path) -> dict[str, list[int]]:
    with safe_open(folder / WEIGHTS, "numpy") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118, it is no dictionary


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_they_are_named_and_shaped_as_diffusers_saves_them(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder / "config.json")
    saved = save_random_vae(config, tmp_path / "vae")
    assert VAE.load(saved, decoder_only=False).config == config
    counter = "bn.num_batches_tracked"  # which no decode reads
    assert shapes(saved) == {name: shape for name, shape in shapes(folder).items() if name != counter}
