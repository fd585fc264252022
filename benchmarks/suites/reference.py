"""Measures the races' reference: diffusers and bands in float32, against diffusers in float64."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.case import Case
from benchmarks.runner import Group
from benchmarks.suites.peers import race


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield a group per size. The others are compared with its first case, in float64."""
    for pixels in (128,) if quick else (512, 1024) if large else (512,):
        cases = (
            Case("reference", "diffusers_full", pixels, pixels, "float64", label="diffusers, full"),
            Case("reference", "diffusers_full", pixels, pixels, "float32", label="diffusers, full"),
            Case("reference", "ours", pixels, pixels, "float32"),
        )
        yield race(cases, folder, compare=True)
