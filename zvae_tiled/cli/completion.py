"""Shell completion for options that take a preset's name or a path."""

from __future__ import annotations

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

from zvae_tiled.cli.sources import DEMO
from zvae_tiled.families import PRESETS

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def names_and_paths(*names: str) -> Complete:
    """Return a function that completes these names, and paths. Bash offers paths if no name fits."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        fitting = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file"), *fitting]  # must be first: bash drops the items before it

    return complete


vae_names = names_and_paths(DEMO, *PRESETS)
config_names = names_and_paths(*PRESETS)
