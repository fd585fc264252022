"""The stages that a quality needs, and the bytes held during each, before their sweeps are searched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from zvae_tiled.devices.base import Device
from zvae_tiled.errors import PlanError
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.cost import Costs, Size
from zvae_tiled.planner.ends import BLAS, SMALL_CHANGE, given_bytes, result_bytes, starting_bytes
from zvae_tiled.planner.grid import MAX_SPANS, Grid, span_count
from zvae_tiled.planner.quality import Quality, Tiles, Whole, kept_keys
from zvae_tiled.planner.stage import Medium, Stage

PROXY = 64
"""The most rows and columns of one part of a proxy. The 512² latents of a 4096² picture become 64²."""

PROXY_PARTS = 2
"""Parts of a proxy, one above the other: averaged squares, and squares cut out (`engine/proxy.py`)."""

PROXY_BAND = 4
"""Rows of the map that are read at a time to make a proxy."""

TILES = (2048, 1536, 1024, 768, 512, 384, 256, 192, 128)
"""Tile sizes in pixels to try, after the whole picture."""


@dataclass(frozen=True)
class Resident:
    """Bytes that a decode holds from beginning to end, under any plan.

    Attributes:
        weights: The loaded weights.
        gathered: Finished rows: the pictures, or the rows that a file gathers before it is written.
    """

    weights: int
    gathered: int


@dataclass(frozen=True)
class Layout:
    """The stages of a decode, without their sweeps.

    Attributes:
        grid: The tiles.
        factors: How many rows and columns of the map are averaged into one of the proxy; (1, 1) without a proxy.
        stages: The stages, in order.
        reading: Bytes alive between sweeps: while a proxy is made, or while tiles' latents are made ready.
    """

    grid: Grid
    factors: tuple[int, int]
    stages: tuple[Stage, ...]
    reading: int = 0


def resident_bytes(case: Case, weights: int | None, gathered: int) -> Resident:
    """Return the bytes held from beginning to end.

    Args:
        case: The decode or encode.
        weights: Bytes of the loaded weights. Default: those of the case's Chain.
        gathered: Bytes of rows that a file gathers. Ignored if the result is an array, whose own bytes are counted.
    """
    own = case.chain.parameters * case.itemsize if weights is None else weights
    return Resident(own, result_bytes(case) if case.output == "array" else gathered)


def layouts(case: Case, quality: Quality, held: Resident, device: Device) -> Iterator[Layout]:
    """Yield the layouts to try, the fastest first: large tiles before small ones, memory before disk.

    Raises:
        PlanError: The quality has an impossible tile or overlap.
    """
    if isinstance(quality, Whole):
        yield exact_layout(case, held, kept_keys(quality, case))
        return
    for tile in _tile_sizes(case, quality):
        grid = _grid(case, quality, tile)
        for keeps in middle_media(case, quality) if grid is not None else ():
            assert grid is not None
            yield tiled_layout(case, quality, grid, keeps, held, device)


def middle_media(case: Case, quality: Quality) -> tuple[Medium | None, ...]:
    """Return where the middle block's map may be kept: None if no tile needs anything of the others."""
    local = quality.moments == "tile" or not case.chain.barriers
    return (None,) if local else ("ram", "disk")


def exact_layout(case: Case, held: Resident, sampled: int | None = None) -> Layout:
    """Return the one stage of an exact decode, or encode; or of a decode that keeps so many keys."""
    base = held.weights + given_bytes(case) + (0 if sampled is None else BLAS)
    base += held.gathered if case.batch > 1 else 0  # in a batch, finished pictures are held while others run
    last = held.gathered if case.batch == 1 else 0
    whole = (case.height, case.width)
    return Layout(Grid(*whole, whole), (1, 1), (Stage("pixels", *whole, base=base, finished=last, sampled=sampled),))


def tiled_layout(
    case: Case, quality: Quality, grid: Grid, keeps: Medium | None, held: Resident, device: Device
) -> Layout:
    """Return the stages of a decode in tiles, or in one sweep.

    Args:
        case: The decode.
        quality: The quality.
        grid: The tiles.
        keeps: Where the middle block's map is kept; None if each tile computes its own.
        held: Bytes held from beginning to end.
        device: The device.
    """
    chain, config, itemsize = case.chain, case.config, case.itemsize
    base = held.weights + held.gathered + given_bytes(case)
    # Those of the whole picture are made ready at once, before any tile is. A first stage of that size counts them too.
    starting = base + starting_bytes(case, case.height, case.width)
    if grid.count > 1 or keeps is not None:  # latents of one picture, made ready; one tile frees them as it reads them
        base += case.height * case.width * config.latent_channels * itemsize
    blending = _blending(case, grid, device, one_by_one=keeps is None)
    if keeps is None:
        return Layout(grid, (1, 1), (Stage("pixels", *grid.largest, base=base + blending),), starting)
    middle, unknown = chain.middle, [cut for cut in chain.barriers if cut > chain.middle]
    stages = [Stage("middle", case.height, case.width, stop=middle, keeps=keeps, base=base)]
    map_bytes = Costs(chain, Size(case.height, case.width, itemsize), device).cut_bytes(middle)
    base += map_bytes if keeps == "ram" else 0
    kept = map_bytes if keeps == "disk" else 0
    size, factors, proxy, reading = (case.height, case.width), (1, 1), 0, 0
    if quality.moments == "proxy" and unknown:
        factors = (-(-case.height // PROXY), -(-case.width // PROXY))
    if factors != (1, 1):
        size = (PROXY_PARTS * (case.height // factors[0]), case.width // factors[1])
        proxy = size[0] * size[1] * chain.channels[middle] * itemsize
        reading = base + _shrinking(case, *size)
    known = tuple(cut for cut in chain.barriers if cut <= middle)
    if unknown:
        last = unknown[-1]
        stages.append(Stage("statistics", *size, start=middle, stop=last, known=known, base=base + proxy, kept=kept))
    stages.append(Stage("pixels", *grid.largest, start=middle, known=chain.barriers, base=base + blending, kept=kept))
    return Layout(grid, factors, tuple(stages), reading)


def tile_grid(case: Case, quality: Quality, tile: tuple[int, int]) -> Grid:
    """Return the grid of tiles of size `tile` (latents), with the overlap and the context of the quality."""
    chain, scale = case.chain, case.config.scale
    alone = quality.moments == "tile" and bool(chain.barriers)  # with moments and an attention of its own
    reach = 0 if alone else chain.reach(chain.middle)
    named = quality.latents("overlap", scale) if isinstance(quality, Tiles) else None
    if named is not None:
        overlap = named
    elif alone:  # no overlap would make these exact, so 64 pixels, as in mflux
        usual = max(1, 64 // scale)
        overlap = min(tile[0] // 4, usual), min(tile[1] // 4, usual)
    else:
        overlap = reach, reach
    return Grid(case.height, case.width, tile, overlap, (min(reach, overlap[0]), min(reach, overlap[1])))


def check_grid(grid: Grid, scale: int) -> None:
    """Refuse an overlap that does not fit into a tile, and more than `MAX_SPANS` tiles along one axis.

    Raises:
        PlanError: The grid is refused. The error says which tile or overlap to use instead.
    """
    for size, tile, both in zip((grid.height, grid.width), grid.tile, grid.overlap, strict=True):
        if size <= tile:
            continue
        if both >= tile:
            raise PlanError(
                f"an overlap of {both * scale} pixels does not fit into a tile of {tile * scale}",
                f"Name an overlap of at most {tile // 2 * scale}, or a larger tile.",
            )
        count = span_count(size, tile, both)
        if count > MAX_SPANS:
            raise PlanError(
                f"{size * scale:,} pixels need {count:,} tiles of {tile * scale} pixels with an overlap of "
                f"{both * scale}, the limit is {MAX_SPANS:,} tiles",
                "Name a larger tile, or a smaller overlap.",
            )


def _grid(case: Case, quality: Quality, tile: tuple[int, int]) -> Grid | None:
    """Return the grid of tiles of size `tile`; None if it is refused and the quality leaves the size to the planner."""
    grid = tile_grid(case, quality, tile)
    try:
        check_grid(grid, case.config.scale)
    except PlanError:
        if isinstance(quality, Tiles) and quality.tile is not None:
            raise
        return None
    return grid


def _tile_sizes(case: Case, quality: Quality) -> Iterator[tuple[int, int]]:
    """Yield tile sizes to try, in latents, largest first: larger tiles compute less overlap twice."""
    scale = case.config.scale
    named = quality.latents("tile", scale) if isinstance(quality, Tiles) else None
    if named is not None:
        yield named
        return
    yield case.height, case.width
    if isinstance(quality, Tiles):
        for pixels in TILES:
            latents = max(1, pixels // scale)
            if latents < max(case.height, case.width):
                yield latents, latents


def _shrinking(case: Case, rows: int, columns: int) -> int:
    """Return the bytes alive while a map is reduced to a proxy of `rows` x `columns`."""
    channels, itemsize = case.chain.channels[case.chain.middle], case.itemsize
    line = case.width * channels
    # Joined rows, in storage and in float32. One row's moments in float64. The proxy, in float32 and in storage.
    return line * (PROXY_BAND * (2 * itemsize + 4) + 24) + rows * columns * channels * (4 + itemsize + 4)


def _blending(case: Case, grid: Grid, device: Device, one_by_one: bool) -> int:
    """Return the bytes for blending: summed tiles, rows on their way to the sink, and map rows a tile is cut from."""
    chain, config = case.chain, case.config
    scale, band = config.scale, device.band_rows
    cut = 2 * band * case.width * chain.channels[chain.middle] * case.itemsize
    if grid.count == 1:
        return cut if one_by_one else 0  # rows go straight to the sink
    line = case.width * scale * config.picture_channels * 4
    tall = max(span.stop - span.start for span in grid.rows) * scale
    shared = grid.overlap[0] * scale if len(grid.rows) > 1 else 0  # copied from one row of tiles to the next
    # A tile's band in float32, the same band multiplied by its weights, and a picture band on its way to the sink.
    pixels = band * scale * (4 * grid.largest[1] * scale * config.picture_channels * 4 + 4 * line)
    sums = 8 * (case.height + case.width) * scale  # of the weights of all tiles, at each pixel of both axes
    return (tall + shared) * line + pixels + cut + sums + SMALL_CHANGE
