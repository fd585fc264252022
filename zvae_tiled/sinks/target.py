"""Checks the path of a picture before any work: its format, its folder, and the free space."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from zvae_tiled.checks import path_of, truth
from zvae_tiled.errors import OutputError
from zvae_tiled.files.atomic import check_place, wrong_ending
from zvae_tiled.files.new_folder import check_folder
from zvae_tiled.files.special import is_special
from zvae_tiled.files.work_folder import is_finished_part
from zvae_tiled.sinks.deep_zoom import tiles_folder
from zvae_tiled.sinks.file import FileSink
from zvae_tiled.sinks.kinds import KINDS, check_kind
from zvae_tiled.sinks.png import Png
from zvae_tiled.sinks.room import check_files_fit, folder_of
from zvae_tiled.sinks.texts import kept_texts, size_of
from zvae_tiled.sinks.work import WorkSink
from zvae_tiled.sinks.writer import Shape, Writer


@dataclass(frozen=True)
class Target:
    """Files for pictures, which can be written.

    Attributes:
        paths: The files, one per picture.
        kind: The writer of their format.
        shape: The shape of a picture.
        bits: Bits of a channel.
        overwrite: Whether existing files are replaced.
        texts: Texts of the caller that each file holds.
    """

    paths: tuple[Path, ...]
    kind: type[Writer]
    shape: Shape
    bits: int
    overwrite: bool = True
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def gathered(self) -> int:
        """Bytes of rows gathered while a file is written. They count against the budget."""
        return self.kind.gathered(self.shape, self.bits)

    @property
    def needed(self) -> int:
        """The most bytes that the files may have."""
        return len(self.paths) * (self.kind.largest(self.shape, self.bits) + size_of(self.texts))

    @property
    def folder(self) -> Path:
        """The folder in which they are written."""
        return folder_of(self.paths[0])

    def check_room(self, spilled: int, spill_folder: Path, beside: int = 0) -> None:
        """Refuse files that the disk may not hold if they compress badly.

        Args:
            spilled: Bytes of maps that are on disk at the same time.
            spill_folder: The folder of these maps.
            beside: Bytes of other files that are written on the same disk.

        Raises:
            OutputError: There is too little free space.
        """
        check_files_fit(self.paths[0], self.needed, spilled, spill_folder, beside)

    def sink(self, notes: dict[str, str]) -> FileSink:
        """Return the sink that writes the files, with `notes` in each of them."""
        return FileSink(*self._options(notes))

    def work_sink(self, notes: dict[str, str], kept: Callable[[int], Path]) -> WorkSink:
        """Return the sink that writes the files in a work folder, where `kept` names that of a picture."""
        return WorkSink(*self._options(notes), kept=kept)

    def _options(self, notes: dict[str, str]) -> tuple[Any, ...]:
        writer = partial(self.kind, shape=self.shape, bits=self.bits, notes={**notes, **self.texts, **notes})
        return self.paths, self.shape[0], self.gathered, self.overwrite, self.kind.beside, writer


def planned_target(
    path: str | os.PathLike[str], pictures: tuple[int, int, int, int], bits: int | None = None
) -> Target:
    """Check the format of a file for pictures of shape (B, H, W, C), but not its place: nothing of it need exist.

    Raises:
        OutputError: The ending names no format, the format cannot hold the pictures, or they are several for a pipe.
        MissingExtraError: The format needs Pillow.
    """
    target = path_of(path, "path")
    kind = KINDS.get(target.suffix.lower(), Png if is_special(target) else None)
    if kind is None:
        raise wrong_ending(target, "pictures", KINDS)
    batch, shape = pictures[0], pictures[1:]
    if batch > 1 and is_special(target):  # the numbered names would be those of new files
        raise OutputError(
            f"{target} is a pipe or a device, which takes one picture; this is a batch of {batch}", "Name a file."
        )
    check_kind(target, kind, shape, bits)
    paths = (target,) if batch == 1 else tuple(target.with_stem(f"{target.stem}-{i}") for i in range(batch))
    return Target(paths, kind, shape, kind.bits[0] if bits is None else int(bits))


def file_target(
    path: str | os.PathLike[str],
    pictures: tuple[int, int, int, int],
    bits: int | None = None,
    overwrite: bool = True,
    texts: Mapping[str, str] | None = None,
    work: Path | None = None,
) -> Target:
    """Check the file for pictures of shape (B, H, W, C), or the numbered files of a batch.

    A text that the format has no room for is a warning, unless it has no place for any. A picture that the decode of
    the work folder `work` has published itself may exist, whatever `overwrite` says.

    Raises:
        OutputError: The path cannot be written to, or its format cannot hold the pictures.
        MissingExtraError: The format needs Pillow.
    """
    planned = planned_target(path, pictures, bits)
    kind, paths = planned.kind, planned.paths
    for name in paths:
        check_place(name)
    existing = [str(name) for name in paths if os.path.lexists(name) and not is_special(name)]
    existing = [name for name in existing if work is None or not is_finished_part(Path(name), work)]
    if not truth("overwrite", overwrite) and existing:
        problem = f"{', '.join(existing)}: there is a file of that name"
        raise OutputError(problem, "Use another name, or set overwrite=True.")
    for name in paths if kind.beside else ():
        if is_special(name):
            raise OutputError(
                f"{name} is a pipe or a device, and a {name.suffix} has a folder beside it", "Name a file."
            )
        check_folder(tiles_folder(name), overwrite)
    kept = kept_texts({} if texts is None else texts, kind.text_room, os.fspath(path)) if kind.text_room else {}
    return replace(planned, overwrite=overwrite, texts=kept)
