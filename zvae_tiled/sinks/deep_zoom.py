"""Writes Deep Zoom: a `.dzi`, and beside it a folder with PNG tiles of the picture and of all its halves."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

from zvae_tiled.files.special import followed
from zvae_tiled.sinks.crew import STATE, Crew, at_work
from zvae_tiled.sinks.levels import Levels, gathered_levels, level_shapes
from zvae_tiled.sinks.png_parts import COLOURS, whole_png
from zvae_tiled.sinks.writer import Samples, Shape, Writer, raw_bytes

TILE = 254
"""Rows and columns of a tile, without those of its neighbours."""

OVERLAP = 1
"""Rows and columns of each neighbour that a tile also holds. OpenSeadragon stretches tiles that hold none."""

_COPIES = 6
"""A tile's copies while it is compressed: as in png.py, and as PNG stores it."""

_BESIDE = 1 << 14
"""More bytes than a tile's file has beside its own pixels: neighbours' pixels, filters, the last block of the disk."""

_NAMESPACE = "http://schemas.microsoft.com/deepzoom/2008"

_Tile = tuple[Path, tuple[bytes, ...]]
"""The file of a tile, and what it holds."""


class DeepZoom(Writer):
    """Writes tiles as they fill, and the `.dzi` at the end. Level 0 is one pixel, the last is the picture."""

    bits = (8,)
    channels = tuple(COLOURS)
    beside = True

    def __init__(self, file: BinaryIO, shape: Shape, bits: int, notes: dict[str, str], folder: Path) -> None:
        """Create a folder for each level.

        Args:
            file: The `.dzi`.
            shape: The picture's shape.
            bits: 8.
            notes: Notes, for which the format has no place.
            folder: The empty folder of the tiles.
        """
        super().__init__(file, shape, bits, notes)
        shapes = level_shapes(shape, 1)
        self._folders = [folder / str(level) for level in reversed(range(len(shapes)))]
        self._levels = Levels(shapes, TILE, bits, self._hand_over, OVERLAP)
        self._crew = Crew[_Tile](_tiles_at_work(shape), self._put)
        for level in self._folders:
            level.mkdir()

    def holds(self) -> Iterator[str]:
        """Yield the names in the folder of the tiles: those of a level, then that of its folder."""
        for level, (rows, columns) in enumerate(reversed([_grid(each) for each in level_shapes(self.shape, 1)])):
            yield from (f"{level}/{column}_{row}.png" for row in range(rows) for column in range(columns))
            yield str(level)

    @staticmethod
    def gathered(shape: Shape, bits: int) -> int:
        """Return the bytes of rows of tiles, and of the tiles that are compressed."""
        tiles = _tiles_at_work(shape) * (_COPIES * _tile_bytes(shape) + STATE)
        return gathered_levels(level_shapes(shape, 1), TILE + 2 * OVERLAP, bits) + tiles

    @classmethod
    def largest(cls, shape: Shape, bits: int) -> int:
        """Return the most bytes of all tiles on a disk."""
        sizes = ((raw_bytes(level, bits), _tiles(level)) for level in level_shapes(shape, 1))
        return sum(size + size // 64 + (1 + tiles) * _BESIDE for size, tiles in sizes)

    def write(self, rows: Samples) -> None:
        """Gather rows, and write them as tiles when they fill a row of tiles."""
        self._levels.write(rows)

    def finish(self) -> None:
        """Write the last tiles, and the `.dzi`."""
        self._crew.finish()
        numbers = {"Format": "png", "Overlap": str(OVERLAP), "TileSize": str(TILE)}
        image = ElementTree.Element("Image", {"xmlns": _NAMESPACE, **numbers})
        ElementTree.SubElement(image, "Size", {"Width": str(self.shape[1]), "Height": str(self.shape[0])})
        self.file.write(ElementTree.tostring(image, "UTF-8", xml_declaration=True))

    def stop(self) -> None:
        """End the threads."""
        self._crew.stop()

    def _hand_over(self, level: int, number: int, rows: Samples) -> None:
        for column, left in enumerate(range(0, rows.shape[1], TILE)):
            path = self._folders[level] / f"{column}_{number}.png"
            tile = rows[:, max(0, left - OVERLAP) : left + TILE + OVERLAP].copy()
            self._crew.give(partial(_made, path, tile))

    def _put(self, tile: _Tile) -> None:
        path, pieces = tile
        with path.open("xb") as file:
            for piece in pieces:
                file.write(piece)


def tiles_folder(path: Path) -> Path:
    """Return the folder of tiles that belongs to a `.dzi`."""
    place = followed(path)
    return place.with_name(f"{place.stem}_files")


def _made(path: Path, rows: Samples) -> _Tile:
    return path, whole_png(rows)


def _tile_bytes(shape: Shape) -> int:
    side = TILE + 2 * OVERLAP
    return (1 + min(side, shape[0])) * (1 + min(side, shape[1]) * shape[2])


def _tiles(shape: Shape) -> int:
    rows, columns = _grid(shape)
    return rows * columns


def _grid(shape: Shape) -> tuple[int, int]:
    return -(-shape[0] // TILE), -(-shape[1] // TILE)


def _tiles_at_work(shape: Shape) -> int:
    return at_work(_tile_bytes(shape), _tiles(shape))
