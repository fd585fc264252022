"""docs/models.md names every preset, with the channels and the scale of its config."""

from __future__ import annotations

from pathlib import Path

import pytest

from zvae_tiled.families import PRESETS

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.read_text().splitlines() if "| `" in line]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_a_row_that_says_what_its_config_says(preset: str) -> None:
    ((presets, _, channels, pixels, latents),) = (row for row in ROWS if f"`{preset}`" in row[0] and len(row) == 5)
    names, numbers = presets.replace("`", "").split(", "), channels.split(", ")
    if len(numbers) == len(names) > 1:
        channels = numbers[names.index(preset)]
    convention = PRESETS[preset].latents
    returned, grain = convention.returned
    assert int(channels.partition(",")[0]) == returned
    assert int(pixels) == PRESETS[preset].cell // grain
    stored = convention.statistics is not None
    assert stored == ("statistics" in latents)
    assert stored or convention.scaling == 1 or str(convention.scaling) in latents
    assert stored or not convention.shift or str(convention.shift) in latents
    assert bool(convention.mean) == ("mean" in latents)
