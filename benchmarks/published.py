"""The VAEs that suites run at published width: the first preset of each family, and some that differ within theirs."""

from __future__ import annotations

from zvae_tiled.families import FAMILIES

FIRST = tuple(next(iter(family.presets)) for family in FAMILIES.values())
"""One preset of each family. A family added later is covered without being named here."""

SMALL = "flux2-small"
"""FLUX.2's small decoder: groups of 3 channels."""

COGVIEW = "cogview4"
"""An AutoencoderKL without attention, of up to 1024 channels."""

WAN_2_2 = "wan2.2"
"""A residual network, whose pixels are packed."""
