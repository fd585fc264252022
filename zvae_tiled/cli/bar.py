"""The progress line of a decode, on standard error: name, bar, per cent, time to go, and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING

from zvae_tiled.wording import clock, in_one_unit, until

if TYPE_CHECKING:
    from rich.text import Text

    from zvae_tiled.report.progress import Listener, Progress

BAR = 24
"""The most columns of the bar."""

TIGHT, ROOMY = 16, 40
"""Columns that name and bar need beside figures that matter, and beside others."""


@contextmanager
def bar(name: str | Callable[[], str], quiet: bool) -> Iterator[Listener | None]:
    """Show a progress line while the block runs, if standard error is a terminal.

    Args:
        name: What is decoded, or a function that returns it as it is now.
        quiet: Show nothing.

    Yields:
        The listener that updates the line; None if none is shown.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    shown: list[Progress] = []

    def line() -> Text:
        text = name if isinstance(name, str) else name()
        return line_of(text, shown[0] if shown else None, console.width, console.options.ascii_only)

    with Live(console=console, get_renderable=line) as live:

        def update(progress: Progress) -> None:
            shown[:] = [progress]
            if progress.done >= 1:
                live.refresh()

        yield update


def line_of(name: str, progress: Progress | None, width: int, ascii_only: bool = False) -> Text:
    """Return the line for a terminal of `width` columns. The name and the bar share what the figures leave.

    Args:
        name: What is decoded. A long one is cut.
        progress: The progress; None at the start.
        width: Columns of the terminal. If they are few, figures are left out.
        ascii_only: Whether the terminal shows ASCII only.
    """
    from rich.text import Text

    done = 0.0 if progress is None else progress.done
    text = f" {done:4.0%}"
    left = width - len(text) - 2  # a space behind the name; some terminals wrap when the last column is written
    for figure, kept in () if progress is None else details(progress):
        if left - len(figure) - 2 < kept:
            break
        text += f"  {figure}"
        left -= len(figure) + 2
    title = Text("".join(letter if letter.isprintable() else "?" for letter in name))
    cells = max(1, min(BAR, max(left // 2, left - title.cell_len)))
    title.truncate(max(1, left - cells), overflow="ellipsis")
    full, empty = ("#", ".") if ascii_only else ("━", "╺")
    filled = int(done * cells)
    return Text.assemble(
        title, " ", (full * filled, "green"), (empty * (cells - filled), "dim"), text, no_wrap=True, overflow="crop"
    )


def details(progress: Progress) -> list[tuple[str, int]]:
    """Return the figures beside the bar, each with the columns that it leaves to name and bar, or is left out."""
    figures = [(f"{clock(progress.remaining) if isfinite(progress.remaining) else '-:--:--'} to go", TIGHT)]
    if progress.budget:  # workers have theirs, each its own
        now, peak, budget, unit = in_one_unit(progress.memory, progress.peak, progress.budget)
        figures += [(f"{now} of {budget} {unit}", TIGHT), (f"peak {peak} {unit}", ROOMY)]
    if end := until(progress.remaining):
        figures.insert(min(2, len(figures)), (end, TIGHT))
    if progress.sweeps:  # several pictures at a time are not at one sweep
        figures.append((f"sweep {progress.sweep}/{progress.sweeps}", ROOMY))
    return figures
