"""Disks that take no more: an error of ours, nothing half-written, and a work folder that goes on."""

from __future__ import annotations

from functools import partial

from tests.campaign.filled import full, quota, read_only
from tests.campaign.mounts import may_have_quota, may_mount
from tests.campaign.part import Part
from tests.campaign.struck.client import COMPILED, can_strike, strike

MOUNTS = "Linux and root"

WRITES = Part(
    "writes",
    "a disk that is full at a write, a name or an fsync, once or from there on: of three decodes until each of theirs "
    "was tried, then of other decodes and encodes",
    1_000,
    20,
    partial(strike, kind="disk"),
    needs=COMPILED,
    possible=can_strike,
)
FULL = Part(
    "full",
    "a disk of 8 MB that another program fills at a random moment",
    50,
    6,
    full,
    needs=MOUNTS,
    possible=may_mount,
)
READ_ONLY = Part(
    "read-only", "a read-only folder for outputs, maps or work", 30, 6, read_only, needs=MOUNTS, possible=may_mount
)
QUOTA = Part(
    "quota", "a quota that a decode passes", 30, 2, quota, needs=f"{MOUNTS}, and btrfs", possible=may_have_quota
)

PARTS = (WRITES, FULL, READ_ONLY, QUOTA)
