"""Checks the path of a picture before any work: its format, its folder, and the free space."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from zvae_tiled.checks import path_of
from zvae_tiled.errors import MissingExtraError, OutputError
from zvae_tiled.files.atomic import check_place
from zvae_tiled.files.special import followed, is_special
from zvae_tiled.files.temporary import temporary_folder
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
    """Files for pictures, which can be written.

    Attributes:
        paths: The files, one per picture.
        kind: The writer of their format.
        shape: The shape of a picture.
        bits: Bits of a channel.
        overwrite: Whether existing files are replaced.
    """

    paths: tuple[Path, ...]
    kind: type[Writer]
    shape: Shape
    bits: int
    overwrite: bool

    @property
    def gathered(self) -> int:
        """Bytes of rows gathered while a file is written. They count against the budget."""
        return self.kind.gathered(self.shape, self.bits)

    def check_room(self, spilled: int, spill_folder: Path) -> None:
        """Refuse files that the disk may not hold if they compress badly.

        Args:
            spilled: Bytes of maps that are on disk at the same time.
            spill_folder: The folder of these maps.

        Raises:
            OutputError: There is too little free space.
        """
        folder = temporary_folder() if is_special(self.paths[0]) else followed(self.paths[0]).parent
        needed = len(self.paths) * self.kind.largest(self.shape, self.bits)
        try:
            shared = spilled if spill_folder.stat().st_dev == folder.stat().st_dev else 0
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise failed(self.paths[0], error) from error
        if free < needed + shared:
            maps = f", and spilled maps {shared:,}" if shared else ""
            raise OutputError(
                f"{self.paths[0]} may need {needed:,} bytes{maps}; {folder} has {free:,} free",
                "Free space, use a file on another disk, or choose fewer bits.",
            )

    def sink(self, notes: dict[str, str]) -> Sink:
        """Return the sink that writes the files, with `notes` in each of them."""
        writer = partial(self.kind, shape=self.shape, bits=self.bits, notes=notes)
        return FileSink(self.paths, self.shape[0], self.gathered, self.overwrite, writer)


def file_target(
    path: str | os.PathLike[str],
    pictures: tuple[int, int, int, int],
    bits: int | None = None,
    overwrite: bool = True,
) -> Target:
    """Check the file for pictures of shape (B, H, W, C), or the numbered files of a batch.

    Raises:
        OutputError: The path cannot be written to, or its format cannot hold the pictures.
        MissingExtraError: The format needs Pillow.
    """
    target = path_of(path, "path")
    kind = KINDS.get(target.suffix.lower(), Png if is_special(target) else None)
    if kind is None:
        endings = ", ".join(KINDS)
        problem = f"{target}: pictures are written as {endings}, not as {target.suffix!r}"
        raise OutputError(problem, "Change the ending.")
    batch, shape = pictures[0], pictures[1:]
    _check_kind(target, kind, shape, bits)
    paths = (target,) if batch == 1 else tuple(target.with_stem(f"{target.stem}-{i}") for i in range(batch))
    for name in paths:
        check_place(name)
    existing = [str(name) for name in paths if os.path.lexists(name) and not is_special(name)]
    if existing and not overwrite:
        problem = f"{', '.join(existing)}: there is a file of that name"
        raise OutputError(problem, "Use another name, or set overwrite=True.")
    return Target(paths, kind, shape, kind.bits[0] if bits is None else bits, overwrite)


def _check_kind(path: Path, kind: type[Writer], shape: Shape, bits: int | None) -> None:
    height, width, channels = shape
    if bits is not None and (isinstance(bits, bool) or bits not in kind.bits):
        raise OutputError(
            f"{path}: bits= must be {_either(kind.bits)} in this kind of file, it is {bits!r}",
            ".png and .tiff store 16, .tiff, .npy and .safetensors store 32.",
        )
    if kind.channels is not None and channels not in kind.channels:
        raise OutputError(
            f"{path}: this kind of file holds {_either(kind.channels)} channels, the VAE's pictures have {channels}",
            "Write a .npy or a .safetensors.",
        )
    if max(height, width) > kind.side:
        raise OutputError(
            f"{path}: this kind of file holds at most {kind.side:,} pixels a side, the picture has "
            f"{width:,}x{height:,}",
            "Write a .png or a .tiff.",
        )
    if kind.pillow is not None:
        features = imported("PIL.features", "pip install 'zvae-tiled[pil]'")
        if not features.check(_FEATURES[kind.pillow]):
            advice = "pip install --force-reinstall pillow, or write a .png."
            raise MissingExtraError(f"{path}: the installed Pillow was built without {kind.pillow}", advice)


_FEATURES = {"JPEG": "jpg", "WEBP": "webp"}
"""Pillow's name for the library of each format."""


def _either(numbers: tuple[int, ...]) -> str:
    *first, last = map(str, sorted(numbers))
    return f"{', '.join(first)} or {last}" if first else last
