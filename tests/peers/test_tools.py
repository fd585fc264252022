"""The tools of the races: without tiles they decode the same picture, with tiles another one."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.case import Case
from benchmarks.quality import structured_latents
from benchmarks.runner import Group, Machine, run_group
from benchmarks.weights import save_random_vae
from tests.support.models import narrow
from zvae_tiled.report.figures import Row

pytestmark = pytest.mark.peers

PIXELS = 704
CONFIG = narrow("z-image", (8, 8, 8, 8))


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    folder = tmp_path_factory.mktemp("race")
    np.save(folder / "latents.npy", structured_latents(PIXELS // 8, PIXELS // 8, CONFIG.latent_channels))
    model = save_random_vae(CONFIG, folder / "vae")
    tools = ("diffusers_full", "ours", "diffusers_tiled", "comfy_like", "a1111_like")
    cases = tuple(
        Case("peers", tool, PIXELS, PIXELS, "float32", widths=(8, 8, 8, 8), label=tool, options=options)
        for tool, options in zip(tools, ({}, {}, {"tile": 352}, {}, {}), strict=True)
    )
    group = Group(cases, model, folder / "latents.npy", compare=True)
    return {row.tool: row for row in run_group(group, Machine(8 << 30))}


def test_all_ran(race: dict[str, Row]) -> None:
    assert {row.outcome for row in race.values()} == {"ok"}
    assert race["diffusers_full"].note == "the reference"
    for row in race.values():
        assert row.footprint is not None
        assert row.seconds is not None


def test_bands_are_the_picture_and_tiles_are_not(race: dict[str, Row]) -> None:
    def error(tool: str) -> float:
        found = race[tool].max_error
        assert found is not None
        return found

    assert error("ours") < 1e-4
    for tool in ("diffusers_tiled", "comfy_like", "a1111_like"):
        assert 1e-3 < error(tool) < 0.8, tool
        assert race[tool].seams is not None


def decoded(case: Case, monkeypatch: pytest.MonkeyPatch, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """The A1111-like decode and the full one, in this process."""
    import torch

    from benchmarks.tools import a1111_like
    from tests.peers.diffusers_model import random_diffusers_vae

    monkeypatch.setattr(a1111_like, "TILE", tile)
    model = random_diffusers_vae(CONFIG)
    latents = torch.from_numpy(structured_latents(case.height // 8, case.width // 8, 16))
    with torch.no_grad():
        return a1111_like.in_step(model.decoder, latents, 8).numpy(), model.decode(latents).sample.numpy()


def test_strips_in_float64_are_the_convolution() -> None:
    import torch

    from benchmarks.tools.torch_vae import by_rows
    from tests.peers.diffusers_model import random_diffusers_vae

    model = random_diffusers_vae(CONFIG).double()
    latents = torch.from_numpy(structured_latents(20, 9, 16)).double()  # strips of 64 rows that end early
    with torch.no_grad():
        whole = model.decode(latents).sample
        by_rows(model)
        assert (model.decode(latents).sample - whole).abs().max() < 1e-12 * whole.std()


def test_tiles_in_step_are_right_where_each_sees_all(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("peers", "a1111_like", 128, 96, "float32", widths=(8, 8, 8, 8))
    for tile in (64, 8):  # one tile; and four, whose context is the rest of the picture
        ours, full = decoded(case, monkeypatch, tile)
        assert np.abs(ours - full).max() < 1e-4 * full.std()
