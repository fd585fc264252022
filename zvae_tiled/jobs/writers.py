"""What the writers of files gather, known from the files' names: for plans that are made before there are latents."""

from __future__ import annotations

import os
from collections.abc import Sequence

from zvae_tiled.checks import path_of
from zvae_tiled.errors import InputError, PlanError
from zvae_tiled.files.protect import check_outputs
from zvae_tiled.planner.case import Case

FileNames = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""The files of one decode, by their names: one, or a list of them."""


def gathered_for(output: FileNames | None, bits: int | None, case: Case) -> int:
    """Return the bytes of rows that files gather while they are written, as a decode into them plans for.

    Args:
        output: The files. None of them need exist, and none is opened. None: no file is written.
        bits: Bits of a channel.
        case: The decode.

    Raises:
        PlanError: The case is no decode whose rows are passed on.
        InputError: `output` is no path, or `bits` is set without it.
        OutputError: An ending names no format, its format cannot hold the pictures, or two outputs are one file.
        MissingExtraError: A format needs Pillow.
    """
    if output is None:
        if bits is not None:
            raise InputError("bits are set, but output names no file", "Name the file, or leave out bits.")
        return 0
    if case.output != "rows":
        raise PlanError(
            "output names files, whose rows are written as they are finished, and the task is another",
            'Set task="stream", or leave out output.',
        )
    several = list(output) if isinstance(output, list | tuple) else [output]
    if not several:
        raise InputError("output must be a path or a list of them, the list is empty")
    paths = [path_of(each, "output") for each in several]
    from zvae_tiled.sinks.target import planned_target  # imports MLX, which other plans do not need
    from zvae_tiled.sinks.targets import Targets

    pictures = (case.batch, *case.pixels, case.config.picture_channels)
    targets = Targets(tuple(planned_target(path, pictures, bits) for path in paths))
    check_outputs(targets.paths, ())
    return targets.gathered  # of one picture: those of a batch are written one after the other
