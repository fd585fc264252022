"""`zvae plan -o`: the files of a decode that is planned, whose writers take memory too. None of them need exist."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from zvae_tiled.cli.options import bits_option, group
from zvae_tiled.cli.outputs import (
    KIND,
    STDOUT,
    check_work,
    named,
    refuse_batch_on_standard,
    refuse_beside_standard,
)
from zvae_tiled.planner.plan import Plan
from zvae_tiled.wording import listed, size

_LATENTS = Path("latents")
"""In place of the latents that give a file in a folder its name."""


@dataclass(frozen=True)
class Files:
    """The options for the files of a planned decode, as they were typed.

    Attributes:
        outs: ``--output``.
        bits: ``--bits``.
    """

    outs: tuple[str, ...]
    bits: str | None

    @property
    def written(self) -> list[Path]:
        """The files that have names."""
        return [path for out in self.outs if out != STDOUT for path in named(out, [_LATENTS])]

    @property
    def paths(self) -> list[Path]:
        """All files. Standard output takes what a file of its format takes."""
        return [Path(f"stdout{KIND}")] if STDOUT in self.outs else self.written

    @property
    def depth(self) -> int | None:
        """Bits of a channel; None for each format's own."""
        return None if self.bits is None else int(self.bits)

    def check(self, batch: int, work: bool) -> None:
        """Refuse what `zvae decode` refuses of these options, before it looks at formats.

        Args:
            batch: Number of pictures.
            work: Whether the decode has a work folder.

        Raises:
            click.UsageError: Standard output or a work folder cannot hold them, or there are bits of no file.
        """
        if self.bits is not None and not self.outs:
            raise click.UsageError("--bits is of a file: name one with -o.")
        if STDOUT in self.outs:
            refuse_beside_standard(self.outs)
            refuse_batch_on_standard(batch)
        if work:
            check_work(self.written)

    def line(self, plan: Plan) -> str:
        """Return a line that names the files, and the memory that a plan counts for their writers."""
        names = listed(["standard output" if out == STDOUT else out for out in self.outs])
        taken = size(plan.gathered) if plan.gathered else "no memory"
        return f"{'writer' if len(self.outs) == 1 else 'writers':<11}{names}: {taken} while rows are written"


files_options = group(
    "files",
    Files,
    outs=click.option(
        "--output",
        "-o",
        "outs",
        multiple=True,
        metavar="OUT",
        type=click.Path(),
        help="Count the memory that the writer of this file takes, as zvae decode -o does. Only the name is read. "
        "Several -o are written by one decode.",
    ),
    bits=bits_option,
)
