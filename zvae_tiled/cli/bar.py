"""The progress bar of a decode, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zvae_tiled.report.progress import Listener, Progress


@contextmanager
def bar(name: str, quiet: bool) -> Iterator[Listener | None]:
    """Show a progress bar while the block runs, if standard error is a terminal.

    Args:
        name: The label of the bar.
        quiet: Show no bar.

    Yields:
        The listener that updates the bar; None if no bar is shown.
    """
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Display

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TaskProgressColumn())
    with Display(*columns, TextColumn("{task.fields[details]}"), console=console) as display:
        task = display.add_task(name, total=1.0, details="")

        def update(progress: Progress) -> None:
            display.update(task, completed=progress.done, details=details(progress))

        yield update


def details(progress: Progress) -> str:
    """Return the text beside the bar: rows, sweeps, time to go, and memory (now, peak, budget)."""
    parts = [f"rows {progress.rows}/{progress.height} of sweep {progress.sweep}/{progress.sweeps}"]
    if progress.done:
        parts.append(f"{timedelta(seconds=round(progress.remaining))} to go")
    if progress.memory is not None and progress.peak is not None:
        now, peak, budget = (f"{size / 1e9:.2f}" for size in (progress.memory, progress.peak, progress.budget))
        parts.append(f"{now} GB now, {peak} peak, {budget} budget")
    return ", ".join(parts)
