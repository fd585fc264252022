"""Builds the command to try after a failure: the same command with the options changed that caused it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from zvae_tiled.cli.options import Size
from zvae_tiled.errors import BudgetError, MissingFolderError, SilentFailureError, ToleranceError
from zvae_tiled.files.work_folder import remove_command
from zvae_tiled.shortage import is_shortage
from zvae_tiled.wording import budget_of, operand

CHANGES = "zvae_tiled.changes"
"""Key in `ctx.meta` for arguments to change when the command is run again."""

WIDER = {"float16": "bfloat16", "bfloat16": "float32"}
"""The type to try after one that failed: bfloat16 has float32's range in the memory of float16."""


def next_command(ctx: click.Context, error: Exception) -> str | None:
    """Return a command to try after this error; None if no change of options would help."""
    options, work = {param.name for param in ctx.command.params}, ctx.params.get("work")
    if isinstance(error, BudgetError) and "budget" in options and error.needed:
        return again(ctx, budget=budget_of(error.needed), plan_file=None)
    if isinstance(error, MissingFolderError) and error.folder:
        return f"mkdir -p {operand(error.folder)} && {again(ctx)}"
    if isinstance(error, ToleranceError) and "keys" in options:  # a plan may have chosen the quality
        if error.exact:
            return again(ctx, quality="exact", keys=None, tolerance=None, plan_file=None)
        return again(ctx, quality="sampled", keys=error.needed, tolerance=error.tolerance, plan_file=None)
    if isinstance(error, SilentFailureError) and "dtype" in options and ctx.params["dtype"] in WIDER:
        anew = again(ctx, dtype=WIDER[ctx.params["dtype"]], plan_file=None)
        return anew if work is None else f"{remove_command(Path(work))} && {anew}"  # it goes on in its own type alone
    if is_shortage(error) and work is not None:
        return again(ctx)  # the work folder goes on with the same options
    if is_shortage(error) and "budget" in options and ctx.params.get("second") is None:
        return again(ctx, budget="25%", plan_file=None)
    return None


def again(ctx: click.Context, **changes: Any) -> str:
    """Return the command line with some values changed. None removes an option."""
    changes = {**ctx.meta.get(CHANGES, {}), **changes}
    words = dict[click.Parameter, list[str]]()
    for param in ctx.command.params:
        typed = ctx.get_parameter_source(str(param.name)) == ParameterSource.COMMANDLINE
        value = changes.get(str(param.name), ctx.params.get(str(param.name)) if typed else None)
        words[param] = list(_words(param, value))
    arguments = [word for param, each in words.items() if isinstance(param, click.Argument) for word in each]
    dashed = any(word.startswith("-") and word != "-" for word in arguments)
    if dashed and not ctx.ignore_unknown_options:
        options = [word for param, each in words.items() if not isinstance(param, click.Argument) for word in each]
        return shlex.join([*ctx.command_path.split(), *options, "--", *arguments])
    return shlex.join([*ctx.command_path.split(), *chain(*words.values())])


def _words(param: click.Parameter, value: Any) -> Iterator[str]:
    if isinstance(param.type, Size) and value is not None:
        value = f"{value[1]}x{value[0]}"
    if isinstance(param, click.Option) and param.multiple:
        yield from (word for each in value or () for word in (param.opts[0], str(each)))
    elif isinstance(param, click.Argument):
        several = value if isinstance(value, tuple | list) else [value]
        yield from (str(each) for each in several if each is not None)
    elif value is True:
        yield param.opts[0]
    elif value is False and param.secondary_opts and isinstance(param, click.Option) and param.default:
        yield param.secondary_opts[0]
    elif value is not None and value is not False:
        yield from (param.opts[0], str(value))
