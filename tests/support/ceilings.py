"""A ceiling that remembers what it was asked for."""

from __future__ import annotations

from zvae_tiled.devices.heap import Ceiling


class Asked(Ceiling):
    """Never reached."""

    def __init__(self) -> None:
        super().__init__(1 << 40)
        self.sizes: list[int] = []

    def make_room(self, size: int) -> None:
        self.sizes.append(size)
