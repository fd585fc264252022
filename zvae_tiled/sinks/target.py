"""The file somebody names, checked before any work: its kind, its place, its size."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from zvae_tiled.checks import path_of
from zvae_tiled.errors import MissingExtraError, OutputError
from zvae_tiled.files.atomic import check_place
from zvae_tiled.inputs.arrays import imported
from zvae_tiled.sinks.base import Sink
from zvae_tiled.sinks.file import FileSink, failed
from zvae_tiled.sinks.npy import Npy
from zvae_tiled.sinks.pillow import Jpeg, WebP
from zvae_tiled.sinks.png import Png
from zvae_tiled.sinks.safetensors import Safetensors
from zvae_tiled.sinks.tiff import Tiff
from zvae_tiled.sinks.writer import Shape, Writer

KINDS: dict[str, type[Writer]] = {
    ".png": Png,
    ".tif": Tiff,
    ".tiff": Tiff,
    ".webp": WebP,
    ".jpg": Jpeg,
    ".jpeg": Jpeg,
    ".npy": Npy,
    ".safetensors": Safetensors,
}


@dataclass(frozen=True)
class Target:
    """Files that can be written.

    Attributes:
        paths: One a picture.
        kind: Of file.
        shape: Of a picture.
        bits: Of a channel.
        overwrite: Whether files that are there are replaced.
    """

    paths: tuple[Path, ...]
    kind: type[Writer]
    shape: Shape
    bits: int
    overwrite: bool

    @property
    def gathered(self) -> int:
        """Bytes of rows gathered while a file is written; they count against the budget."""
        return self.kind.gathered(self.shape, self.bits)

    def check_room(self, spilled: int, spill_folder: Path) -> None:
        """Refuse to start what the disk may not hold, however badly it compresses.

        Args:
            spilled: Bytes of maps that are on disk at the same time.
            spill_folder: Where.

        Raises:
            OutputError: There is too little room.
        """
        folder = self.paths[0].parent
        needed = len(self.paths) * self.kind.largest(self.shape, self.bits)
        try:
            shared = spilled if spill_folder.stat().st_dev == folder.stat().st_dev else 0
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise failed(self.paths[0], error) from error
        if free < needed + shared:
            beside = f", and {shared:,} for maps that are spilled" if shared else ""
            raise OutputError(
                f"{self.paths[0]} may take {needed:,} bytes{beside}; {folder} has {free:,} free",
                "Free space, name a file on another disk, or ask for fewer bits.",
            )

    def sink(self, notes: dict[str, str]) -> Sink:
        """Return the sink that writes the files, with these notes in them."""
        writer = partial(self.kind, shape=self.shape, bits=self.bits, notes=notes)
        return FileSink(self.paths, self.shape[0], self.gathered, self.overwrite, writer)


def file_target(
    path: str | os.PathLike[str],
    pictures: tuple[int, int, int, int],
    bits: int | None = None,
    overwrite: bool = True,
) -> Target:
    """Check a file that pictures (B, H, W, C) are to be written to, or numbered files if there are several.

    Raises:
        OutputError: The place or the kind of file is not one that can be written.
        MissingExtraError: The kind needs Pillow.
    """
    target = path_of(path, "path")
    kind = KINDS.get(target.suffix.lower())
    if kind is None:
        known = ", ".join(KINDS)
        raise OutputError(f"{target}: pictures are written as {known}, not as {target.suffix!r}", "Change the ending.")
    batch, shape = pictures[0], pictures[1:]
    _check_kind(target, kind, shape, bits)
    paths = (target,) if batch == 1 else tuple(target.with_stem(f"{target.stem}-{i}") for i in range(batch))
    for name in paths:
        check_place(name)
    there = [str(name) for name in paths if os.path.lexists(name)]
    if there and not overwrite:
        raise OutputError(f"{', '.join(there)}: there is a file of that name", "Name another, or say overwrite=True.")
    return Target(paths, kind, shape, kind.bits[0] if bits is None else bits, overwrite)


def _check_kind(path: Path, kind: type[Writer], shape: Shape, bits: int | None) -> None:
    height, width, channels = shape
    if bits is not None and (isinstance(bits, bool) or bits not in kind.bits):
        raise OutputError(
            f"{path}: bits of a channel must be {_either(kind.bits)} in this kind of file, it is {bits!r}",
            ".png and .tiff store 16, .tiff, .npy and .safetensors store 32.",
        )
    if kind.channels is not None and channels not in kind.channels:
        raise OutputError(
            f"{path}: this kind of file holds {_either(kind.channels)} channels, the VAE gives {channels}",
            "Write a .npy or a .safetensors.",
        )
    if max(height, width) > kind.side:
        raise OutputError(
            f"{path}: this kind of file holds {kind.side:,} pixels a side, the picture has {width:,}x{height:,}",
            "Write a .png or a .tiff.",
        )
    if kind.pillow is not None:
        features = imported("PIL.features", "pip install 'zvae-tiled[pil]'")
        if not features.check(_FEATURES[kind.pillow]):
            advice = "pip install --force-reinstall pillow, or write a .png."
            raise MissingExtraError(f"{path}: the Pillow that is installed was built without {kind.pillow}", advice)


_FEATURES = {"JPEG": "jpg", "WEBP": "webp"}
"""What Pillow calls the library behind a kind of file."""


def _either(numbers: tuple[int, ...]) -> str:
    *first, last = map(str, sorted(numbers))
    return f"{', '.join(first)} or {last}" if first else last
