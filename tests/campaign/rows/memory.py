"""Memory that cannot be had: an error of ours, nothing half-written, latents kept; and never killed in a container."""

from __future__ import annotations

from functools import partial

from tests.campaign.contained import attempt as contained
from tests.campaign.contained import may_contain
from tests.campaign.part import Part
from tests.campaign.struck.client import COMPILED, can_strike, strike
from tests.support.groups import MOUNTED

LEAST = 8192
"""Bytes from which on an allocation may fail. NumPy 2.4.6 crashes where smaller ones fail, those of its iterators."""

ALLOCATIONS = Part(
    "allocations",
    "a failed allocation of 8,192 bytes or more, alone or with all later ones: of three decodes until each of theirs "
    "was tried, then of other decodes and encodes",
    5_000,
    25,
    partial(strike, kind="memory", least=LEAST),
    needs=COMPILED,
    possible=can_strike,
)
CONTAINERS = Part(
    "containers",
    "decodes without a budget in control groups of 160 to 260 MB",
    60,
    2,
    contained,
    needs=f"control groups at {MOUNTED}/memory that it may make",
    possible=may_contain,
)

PARTS = (ALLOCATIONS, CONTAINERS)
