"""Quick looks on the command line: in place of the picture, or in a file of their own before it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zvae_tiled.cli.options import group
from zvae_tiled.errors import WeightsError, ZvaeError
from zvae_tiled.files.protect import Source
from zvae_tiled.order import Order
from zvae_tiled.planner.quality import Exact, Quality
from zvae_tiled.weights.hub import located

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE

EARLY = ".preview.png"
"""The end of an early look's name, in place of the picture's suffix."""


@dataclass(frozen=True)
class Look:
    """The options for a quick look, as they were typed.

    Attributes:
        preview: ``--preview``.
        early: ``--early-look``.
        tiny: ``--tiny``.
    """

    preview: bool
    early: bool
    tiny: str | None

    def check(self, quality: Quality, planned: bool) -> None:
        """Refuse options that contradict each other.

        Args:
            quality: The quality that was typed.
            planned: Whether a plan is to be read or saved.

        Raises:
            click.UsageError: They do.
            WeightsError, ConfigError: There is nothing at the path of ``--tiny``, or in the cache by that name.
        """
        if self.preview and self.early:
            raise click.UsageError("--preview writes a quick look alone, --early-look also the picture: remove one.")
        if self.tiny is not None and not (self.preview or self.early):
            raise click.UsageError(
                "--tiny: only --preview and --early-look have a tiny decoder. Remove it, or add one of them."
            )
        self.decoder()
        if self.preview and (quality != Exact() or planned):
            raise click.UsageError("--preview: a quick look has no --quality and no plan. Remove them, or --preview.")

    def decoder(self) -> str | None:
        """Return the path of the tiny decoder that ``--tiny`` names.

        Raises:
            WeightsError, ConfigError: As in `check`.
        """
        if self.tiny is None:
            return None
        path = located(Path(self.tiny))
        if not os.path.exists(path):
            raise WeightsError(f"--tiny: there is no file or folder {self.tiny}", "Name one of a tiny decoder (TAESD).")
        return str(path)

    def sources(self, vae: VAE) -> tuple[Source, ...]:
        """Return the files of the tiny decoder that will be read. One that cannot be read has none."""
        from zvae_tiled.jobs.preview import found_tiny
        from zvae_tiled.weights.find import find_checkpoint
        from zvae_tiled.weights.vae import sources_of

        if not (self.preview or self.early):
            return ()
        path = found_tiny(vae) if self.tiny is None else self.decoder()
        with suppress(ZvaeError):  # an early look that cannot be had does not stop the picture
            return () if path is None else sources_of(find_checkpoint(path), None)
        return ()

    def before(self, order: Order) -> Order:
        """Return the order of the early look at a picture."""
        file = Path(order.target)
        return replace(
            order,
            target=str(file.with_name(file.stem + EARLY)),
            also=(),
            preview=True,
            tiny=self.decoder(),
            quality=Exact(),
            plan=None,
            bits=None,
            work=None,
            disk_limit=None,
        )


look_options: Callable[[Callable[..., None]], Callable[..., None]] = group(
    "look",
    Look,
    preview=click.option(
        "--preview",
        is_flag=True,
        help="Decode a quick look in about a second, not the picture: by a tiny decoder of the same latents (TAESD), "
        "or from a small map of the latents.",
    ),
    early=click.option(
        "--early-look",
        "early",
        is_flag=True,
        help=f"Before the picture, write a quick look beside it: name{EARLY}.",
    ),
    tiny=click.option(
        "--tiny",
        metavar="DIR|FILE|PRESET",
        type=click.Path(),
        help="The tiny decoder of a quick look. A preset, such as taef1, means the one in the Hugging Face cache. "
        "Default: the model's own, if it is there.",
    ),
)
