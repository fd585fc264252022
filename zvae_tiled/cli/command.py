"""`Command`: what all commands share. Errors become a message, a command to try next, and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from zvae_tiled.cli.again import next_command
from zvae_tiled.errors import BudgetError, OutputError, SilentFailureError, ZvaeError

INPUT, BUDGET, OUTPUT, DECODE, INTERRUPTED, UNREAD, TERMINATED = 3, 4, 5, 6, 130, 141, 143
"""Exit codes; 0 is success, and 2 is what click gives for a wrong command line."""

DEBUG = "zvae_tiled.debug"


def exit_code(error: Exception) -> int:
    """Return the exit code for an error."""
    if isinstance(error, BudgetError):
        return BUDGET
    if isinstance(error, OutputError):
        return OUTPUT
    if isinstance(error, ZvaeError) and not isinstance(error, SilentFailureError):
        return INPUT
    return DECODE


def told(error: Exception) -> str:
    """Return what an error says, with its type where that says more."""
    text = str(error) or type(error).__name__
    return text if isinstance(error, ZvaeError) else f"{type(error).__name__}: {text}"


class Failure(click.ClickException):
    """An error on its way to the terminal.

    Attributes:
        error: What was raised.
        debug: Whether the traceback is wanted.
        command: What to try next.
    """

    def __init__(self, error: Exception, debug: bool, command: str | None) -> None:
        """Keep them."""
        super().__init__(told(error))
        self.error = error
        self.debug = debug
        self.command = command
        self.exit_code = exit_code(error)  # type: ignore[misc]  # click reads it of the instance

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message to standard error."""
        if self.debug:
            click.echo("".join(traceback.format_exception(self.error)), err=True, nl=False)
        indented = self.message.replace("\n", "\n" + " " * len("error: "))
        click.echo(f"{click.style('error:', fg='red', bold=True)} {indented}", err=True)
        if self.command is not None:
            click.echo(f"Try this next:\n\n    {self.command}\n", err=True)
        if not isinstance(self.error, ZvaeError) and not self.debug:
            click.echo("Nothing here expected that error; --debug shows where it comes from.", err=True)


class Interrupted(click.ClickException):
    """Ctrl-C, or a polite request to end."""

    def __init__(self, code: int) -> None:
        """Say what there is to say."""
        super().__init__("interrupted; nothing unfinished is left behind")
        self.exit_code = code  # type: ignore[misc]  # likewise

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it to standard error."""
        click.echo(self.message, err=True)


class Unread(click.ClickException):
    """Whoever read the output ended first; shells give the same code where SIGPIPE ends a program."""

    exit_code = UNREAD

    def __init__(self) -> None:
        """There is nobody to say anything to."""
        super().__init__("nobody reads the output")

    def show(self, file: IO[Any] | None = None) -> None:
        """Say nothing, and let Python have nothing left to write when it ends."""
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())


class Command(click.Command):
    """A command with ``--debug`` whose errors are messages."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Add the option."""
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

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            with _terminable():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            raise Unread from None
        except KeyboardInterrupt:
            raise Interrupted(INTERRUPTED) from None
        except _Terminated:
            raise Interrupted(TERMINATED) from None
        except Exception as error:
            raise Failure(error, ctx.meta[DEBUG], next_command(ctx, error)) from error


def _remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG] = value


class _Terminated(BaseException):
    """SIGTERM, made into something that unwinds as Ctrl-C does: files half written are removed."""


@contextmanager
def _terminable() -> Iterator[None]:
    def end(*_: object) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
