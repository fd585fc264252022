"""The attention's keys and values as a sweep reads them: all of the map, in blocks of whole rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic

from zvae_tiled.devices.kernels import ALIKE, T
from zvae_tiled.engine.bands import Bands


class Keys(ABC, Generic[T]):
    """Keys and values, in blocks."""

    @abstractmethod
    def blocks(self) -> Iterator[T]:
        """Yield the blocks. The first is the largest."""

    @abstractmethod
    def gains(self) -> Iterator[float]:
        """Yield what is added to the scores of each block."""

    @abstractmethod
    def close(self) -> None:
        """Free them."""


class AllKeys(Keys[T]):
    """The keys of every pixel."""

    def __init__(self, bands: Bands[T], rows: int) -> None:
        """Take where they are stored, and the rows of a block."""
        self.bands = bands
        self._rows = rows

    def blocks(self) -> Iterator[T]:
        """Yield the blocks, from the top of the map to the bottom."""
        return self.bands.read(self._rows, release=False)

    def gains(self) -> Iterator[float]:
        """Yield zeros: each key stands for itself."""
        return ALIKE

    def close(self) -> None:
        """Free them."""
        self.bands.close()
