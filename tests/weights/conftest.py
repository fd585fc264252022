"""A path for a checkpoint, and the ranges of bytes that are read from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from zvae_tiled.weights.safetensors_file import SafetensorsFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vae.safetensors"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """All ranges of bytes that are read from a checkpoint during the test."""
    ranges: list[tuple[int, int]] = []
    read_at = SafetensorsFile.read_at

    def recording(self: SafetensorsFile, offset: int, into: memoryview) -> None:
        ranges.append((offset, offset + len(into)))
        read_at(self, offset, into)

    monkeypatch.setattr(SafetensorsFile, "read_at", recording)
    yield ranges
    assert ranges
