"""The outputs of one decode: a file, a file object, or several of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mlx.core as mx

from zvae_tiled.checks import shown
from zvae_tiled.errors import InputError, OutputError
from zvae_tiled.files.special import is_special
from zvae_tiled.sinks.base import Sink
from zvae_tiled.sinks.caller import ByteFile
from zvae_tiled.sinks.file import FileSink, close_together
from zvae_tiled.sinks.stream import StreamTarget, stream_target
from zvae_tiled.sinks.target import Target, file_target
from zvae_tiled.sinks.work import WorkSinks

Place = str | os.PathLike[str] | ByteFile
"""Where a picture is written: a path, or a file object."""


@dataclass(frozen=True)
class Targets:
    """All outputs of one decode, which can be written.

    Attributes:
        targets: The outputs, one or more.
    """

    targets: tuple[Target | StreamTarget, ...]

    @property
    def files(self) -> list[Target]:
        """The outputs that are files with names."""
        return [target for target in self.targets if isinstance(target, Target)]

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that will be written."""
        return tuple(path for target in self.files for path in target.paths)

    @property
    def gathered(self) -> int:
        """Bytes of rows gathered while they are written. They count against the budget."""
        return sum(target.gathered for target in self.targets)

    def check_room(self, spilled: int, spill_folder: Path) -> None:
        """Refuse files that the disks may not hold together. The arguments are those of `Target.check_room`."""
        disks: dict[int, int] = {}
        for target in self.files:
            disk = os.stat(target.folder).st_dev
            target.check_room(spilled, spill_folder, disks.get(disk, 0))
            disks[disk] = disks.get(disk, 0) + target.needed

    def sink(self, notes: dict[str, str]) -> Sink:
        """Return the sink that writes all outputs, with `notes` in each of them."""
        sinks: list[Sink] = [target.sink(notes) for target in self.targets]
        return sinks[0] if len(sinks) == 1 else _Together(sinks)

    def check_work(self, work: Path) -> None:
        """Refuse outputs that cannot be kept in a work folder, and those in the folder itself, which is removed.

        Raises:
            InputError: An output is a file object, a pipe or a device, has a folder beside it, or is in the folder.
        """
        for path in self.paths:
            if os.path.realpath(path.parent) == os.path.realpath(work):
                problem = f"{path} is in the folder that work= names, which is removed at the end"
                raise InputError(problem, "Name a file in another folder.")
        if any(target.kind.beside for target in self.files):
            raise InputError("a .dzi cannot be kept in a work folder, and work= is set", "Write a .ptif or a .tiff.")
        if len(self.files) < len(self.targets) or any(map(is_special, self.paths)):
            problem = "work= needs outputs that are files, and one is a file object, a pipe or a device"
            raise InputError(problem, "Name files.")

    def work_sinks(self, notes: dict[str, str], kept: Callable[[str], Path]) -> WorkSinks:
        """Return the sink that writes all outputs in a work folder.

        Args:
            notes: The notes in each file.
            kept: Returns the path of a name in the work folder.

        """

        def part(number: int, picture: int) -> Path:
            return kept(f"part-{number}-{picture}")

        return WorkSinks([target.work_sink(notes, partial(part, number)) for number, target in enumerate(self.files)])


def targets_of(
    places: Place | Sequence[Place],
    pictures: tuple[int, int, int, int],
    bits: int | None = None,
    overwrite: bool = True,
    picture_format: str | None = None,
    texts: Mapping[str, str] | None = None,
    work: Path | None = None,
) -> Targets:
    """Check the outputs for pictures of shape (B, H, W, C).

    Args:
        places: A path, a file object, or a list of them.
        pictures: The shape of the pictures.
        bits: Bits of a channel.
        overwrite: Whether existing files are replaced.
        picture_format: The format in file objects.
        texts: Texts of the caller for each picture.
        work: The work folder, if there is one.

    Raises:
        OutputError: An output cannot be written to, or its format cannot hold the pictures.
        InputError: An output is neither a path nor a file object.
        MissingExtraError: A format needs Pillow.
    """
    several = list(places) if isinstance(places, list | tuple) else [places]
    if not several:
        raise InputError("path must be a path, a file object or a list of them, the list is empty")
    objects = [place for place in several if _is_object(place)]
    if picture_format is not None and not objects:
        raise InputError(
            f"format={shown(picture_format)} is set, but no output is a file object", "The ending of a path decides."
        )
    if len({id(place) for place in objects}) != len(objects):
        raise OutputError("the same file object is named twice", "Name each output once.")
    targets = [
        stream_target(place, pictures, picture_format, bits, {} if texts is None else texts)
        if _is_object(place)
        else file_target(place, pictures, bits, overwrite, texts, work)  # type: ignore[arg-type]
        for place in several
    ]
    return Targets(tuple(targets))


def _is_object(place: object) -> bool:
    return not isinstance(place, str | os.PathLike) and hasattr(place, "write")


class _Together:
    """Passes rows on to several sinks. Their files get their names together."""

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks = sinks

    @property
    def host_bytes(self) -> int:
        return sum(sink.host_bytes for sink in self._sinks)

    def write(self, picture: int, rows: mx.array) -> None:
        for sink in self._sinks:
            sink.write(picture, rows)

    def close(self) -> None:
        close_together([sink for sink in self._sinks if isinstance(sink, FileSink)])

    def abort(self) -> None:
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.callback(sink.abort)
