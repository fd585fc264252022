"""`zvae mflux`: runs a command of mflux, whose pictures are decoded within a budget."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

import click

from zvae_tiled.cli.amounts import warn_above_memory
from zvae_tiled.cli.command import CLOSING, Command
from zvae_tiled.cli.options import budget_option
from zvae_tiled.cli.printing import warnings_told
from zvae_tiled.errors import InputError, MissingExtraError
from zvae_tiled.wording import listed

if TYPE_CHECKING:
    from zvae_tiled.adapters.rescue import Rescue

HELP = ("-h", "--help")


@click.command(
    cls=Command,
    short_help="Run a command of mflux within a budget.",
    context_settings={"ignore_unknown_options": True},
    add_help_option=False,
)
@click.argument("words", metavar="COMMAND [MFLUX'S OPTIONS]", nargs=-1, type=click.UNPROCESSED)
@budget_option
@click.pass_context
def mflux(ctx: click.Context, words: tuple[str, ...], budget: str | None) -> None:
    """Run COMMAND of mflux with its own options, such as mflux-generate-z-image-turbo --prompt "a lighthouse".

    Every picture is decoded within the budget, without tiles. Its latents are kept in this folder until it is saved,
    and the command that decodes them is printed before. For one picture, the transformer is released first. COMMAND
    --help shows mflux's options.
    """
    if not words or words[0] in HELP:
        click.echo(ctx.get_help())
        ctx.exit(0 if words else 2)
    warn_above_memory(budget)
    run = _entry(words[0])
    used: list[Rescue] = []
    with _hooked(budget, used), _arguments(list(words)), warnings_told(logging.INFO), _rescued(used):
        try:
            run()
        except Exception as error:
            if _is_theirs(error):
                ctx.meta[CLOSING] = (
                    f"mflux raised this error. Report it here only if {words[0]} alone works. "
                    "--debug shows the traceback."
                )
            raise
    if not used:
        click.echo(f"warning    {words[0]} decoded nothing here: --budget had no effect", err=True)


def _entry(name: str) -> Any:
    """Return the function of a command of mflux.

    Raises:
        InputError: mflux has no such command, or its model's VAE is not known.
        MissingExtraError: mflux, or a package that the command needs, is not installed.
    """
    try:
        points = metadata.distribution("mflux").entry_points.select(group="console_scripts")
    except metadata.PackageNotFoundError:
        problem = "this needs mflux, which is not installed beside zvae-tiled"
        raise MissingExtraError(problem, "pip install mflux") from None
    if name not in points.names:
        raise InputError(f"mflux has no command {name}", f"Its commands: {listed(sorted(points.names), 99)}.")
    try:
        function = points[name].load()
    except ImportError as error:
        raise MissingExtraError(f"{name} cannot be imported: {error}", "Install what mflux needs for it.") from error
    from zvae_tiled.adapters.mflux import KINDS

    if not KINDS.keys() & sys.modules.keys():
        raise InputError(f"{name} decodes with no VAE that is known here", f"Run it without zvae mflux: {name} …")
    return function


def _is_theirs(error: Exception) -> bool:
    """Return whether an error came out of mflux's command, and nothing of this package was at work below it."""
    _, *below = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
    return not any(name.partition(".")[0] == "zvae_tiled" for name in below)


@contextmanager
def _hooked(budget: str | None, used: list[Rescue]) -> Iterator[None]:
    """Put a bounded VAE into each model. Every command registers its callbacks once its model is loaded."""
    from mflux.callbacks.callback_manager import CallbackManager

    from zvae_tiled.adapters.mflux import use

    theirs = CallbackManager.register_callbacks

    def register(args: Any, model: Any, *more: Any, **options: Any) -> Any:
        registered = theirs(args, model, *more, **options)
        if getattr(model, "tiling_config", None) is not None:
            logging.getLogger("zvae_tiled").info("there are no tiles: the VAE keeps to its budget without them")
        use(model, budget, release=_once(args), source=getattr(args, "model_path", None))
        model.vae.bounded.decodes = not getattr(args, "pid_decode", False)
        used.append(model.vae.bounded.rescue)
        return registered

    CallbackManager.register_callbacks = register
    try:
        yield
    finally:
        CallbackManager.register_callbacks = theirs


def _once(args: Any) -> bool:
    """Return whether the model makes one picture, and is not asked what it shows."""
    seeds, images = getattr(args, "seed", None) or [], getattr(args, "image_path", None)
    several = isinstance(images, list) and len(images) > 1
    return len(seeds) <= 1 and not several and not getattr(args, "verify", False)


@contextmanager
def _rescued(used: list[Rescue]) -> Iterator[None]:
    """Delete the latents that were kept, once the command has saved its pictures. Name them in an error."""
    try:
        yield
    except BaseException as error:
        for each in used:
            each.tell(error)
        raise
    for each in used:
        each.forget()


@contextmanager
def _arguments(words: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, words
    try:
        yield
    finally:
        sys.argv = before
