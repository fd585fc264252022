"""`Command`: the base of all commands. It turns an error into a message, a command to try next, and an exit code."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import click
import click.utils

from zvae_tiled.cli.again import next_command
from zvae_tiled.cli.endings import ENDINGS, Ended, endable
from zvae_tiled.cli.printing import give_up_standard_output, unwritable
from zvae_tiled.cli.spoken import spoken
from zvae_tiled.errors import BudgetError, OutOfMemoryError, OutputError, SilentFailureError, ToleranceError, ZvaeError
from zvae_tiled.files.work_folder import goes_on
from zvae_tiled.shortage import CLOSE, shortages

INPUT, BUDGET, OUTPUT, DECODE, UNREAD = 3, 4, 5, 6, 141
"""Exit codes. 0 is success. click itself exits with 2 for a wrong command line."""

DEBUG = "zvae_tiled.debug"
CLOSING = "zvae_tiled.closing"
"""Where a command leaves what to say last of an error that is not ours, in place of `UNEXPECTED`."""

UNEXPECTED = "Unexpected error. Run again with --debug for the traceback, and please report it."

MEANT: dict[tuple[str | None, str], str] = {
    ("plan", "--save-plan"): "Print the plan with --json, into a file: zvae plan SIZE --json > plan.json",
}
"""What to say of an option that a command does not have, by both names."""


def exit_code(error: Exception) -> int:
    """Return the exit code for an error."""
    if isinstance(error, BudgetError):
        return BUDGET
    if isinstance(error, OutputError):
        return OUTPUT
    if isinstance(error, ZvaeError) and not isinstance(error, SilentFailureError | ToleranceError | OutOfMemoryError):
        return INPUT
    return DECODE


def message_of(error: Exception) -> str:
    """Return the message of an error in the command line's words. Its type precedes it unless it is ours."""
    text = str(error) or type(error).__name__
    return spoken(text) if isinstance(error, ZvaeError) else f"{type(error).__name__}: {text}"


def notes_of(error: BaseException) -> list[str]:
    """Return what was added to an error on its way, such as where latents are kept."""
    return list(getattr(error, "__notes__", ()))


class SomeFailed(Exception):
    """Some of several files could not be decoded, or encoded.

    Attributes:
        first: The error of the first. It decides the exit code. If that is a BudgetError, the one that needs the most,
            for the command to try next decodes all of them.
    """

    def __init__(self, failed: Mapping[str, Exception], count: int, done: str) -> None:
        """Compose the message.

        Args:
            failed: The errors by the names of the files.
            count: Number of all files.
            done: ``decoded`` or ``encoded``.
        """
        super().__init__("\n".join([f"{len(failed)} of {count} files could not be {done}, as said above:", *failed]))
        self.first = next(iter(failed.values()))
        if isinstance(self.first, BudgetError):
            self.first = max((e for e in failed.values() if isinstance(e, BudgetError)), key=lambda each: each.needed)


class Failure(click.ClickException):
    """An error to print on the terminal.

    Attributes:
        error: The exception that was raised.
        debug: Whether to print the traceback.
        command: A command to try next; None if there is none.
        closing: What to say last of an error that is not ours.
    """

    def __init__(self, error: Exception, debug: bool, command: str | None, closing: str = UNEXPECTED) -> None:
        """Keep the arguments."""
        self.error = error.first if isinstance(error, SomeFailed) else error
        super().__init__(str(error) if isinstance(error, SomeFailed) else message_of(error))
        self.debug = debug
        self.command = command
        self.closing = closing
        self.exit_code = exit_code(self.error)  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message to standard error."""
        if self.debug:
            click.echo("".join(traceback.format_exception(self.error)), err=True, nl=False)
        indented = self.message.replace("\n", "\n" + " " * len("error: "))
        click.echo(f"{click.style('error:', fg='red', bold=True)} {indented}", err=True)
        for note in notes_of(self.error):
            click.echo(note, err=True)
        if self.command is not None:
            click.echo(f"Try this next:\n\n    {self.command}\n", err=True)
        if not isinstance(self.error, ZvaeError) and not self.debug:
            click.echo(self.closing, err=True)


class Interrupted(click.ClickException):
    """Ctrl-C, SIGTERM or SIGHUP."""

    def __init__(self, number: signal.Signals, error: BaseException, work: object = None) -> None:
        """Keep the exit code, what the exception was told on its way, and whether there still is a work folder."""
        # There are no notes before the decode begins, nor when it is done.
        begun = isinstance(work, str) and goes_on(Path(work))
        remains = "the same command goes on from here" if begun else "no unfinished files remain"
        super().__init__("\n".join([f"interrupted: {remains}", *notes_of(error)]))
        self.exit_code = ENDINGS[number]  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message to standard error."""
        click.echo(self.message, err=True)


class Unread(click.ClickException):
    """The reader of standard output ended first. Shells report the same code for a program that SIGPIPE ends."""

    exit_code = UNREAD

    def __init__(self) -> None:
        """Keep a message, which `show` does not print."""
        super().__init__("the reader of standard output ended first")

    def show(self, file: IO[Any] | None = None) -> None:
        """Print nothing."""
        give_up_standard_output()


class Command(click.Command):
    """A command with ``--debug``. Its errors are printed as messages, not as tracebacks."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Add the option ``--debug``."""
        super().__init__(*args, **options)
        self.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                callback=_remember,
                help="Show the traceback of an error.",
            )
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line. An option of another command is told what does the same here."""
        words = list(args)  # click takes them out of its list
        try:
            left = super().parse_args(ctx, args)
            self._refuse_empty(ctx, words)
            return left
        except click.NoSuchOption as error:
            meant = MEANT.get((self.name, error.option_name))
            if meant is None:
                raise
            raise click.UsageError(f"No such option: {error.option_name}. {meant}", ctx) from error

    def _refuse_empty(self, ctx: click.Context, words: list[str]) -> None:
        """Refuse an empty word, which a shell makes of an unset variable: as a path it would be the current folder."""
        typed, _, _ = self.make_parser(ctx).parse_args(words)
        for param in self.params:
            value = typed.get(param.name or "")
            if param.type is not click.UNPROCESSED and "" in (value if isinstance(value, list | tuple) else [value]):
                raise click.BadParameter("It is empty. Is a variable of the shell not set?", ctx, param)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            with endable(), shortages("running this command", CLOSE):
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            raise Unread from None
        except KeyboardInterrupt as ended:
            raise Interrupted(signal.SIGINT, ended, ctx.params.get("work")) from None
        except Ended as ended:
            raise Interrupted(ended.number, ended, ctx.params.get("work")) from None
        except Exception as raised:
            error = (unwritable(raised) if isinstance(raised, OSError) else None) or raised
            first = error.first if isinstance(error, SomeFailed) else error
            closing = ctx.meta.get(CLOSING, UNEXPECTED)
            raise Failure(error, ctx.meta[DEBUG], next_command(ctx, first), closing) from error


def _remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG] = value
