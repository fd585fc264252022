"""Collects everything that is wrong with a checkpoint, for one error."""

from __future__ import annotations

from zvae_tiled.errors import WeightsError

MAX_LINES = 20
"""Lines shown per kind of fault. The rest is counted: the wrong file would otherwise fill the screen."""

MAX_LETTERS = 300
"""Characters shown per line."""


class Complaints:
    """Faults by kind, in the order in which each kind was first added."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(self, kind: str, line: str) -> None:
        """Add a fault, a line of text, under its kind."""
        # Names come from the file. One may hold a terminal's escape codes, or a million characters.
        safe = line[:MAX_LETTERS]
        if not safe.isprintable():
            safe = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in safe)
        self._lines.setdefault(kind, []).append(safe)

    def __bool__(self) -> bool:
        return bool(self._lines)

    def raise_if_any(self, subject: str, advice: str) -> None:
        """Raise one error that lists every fault.

        Args:
            subject: The start of the sentence: the file, and what cannot be done with it.
            advice: What to do next.
        """
        if not self._lines:
            return
        report = [f"{subject}:"]
        for kind, lines in self._lines.items():
            report.append(f"{kind} ({len(lines)}):")
            report.extend(f"  {line}" for line in lines[:MAX_LINES])
            if len(lines) > MAX_LINES:
                report.append(f"  … and {len(lines) - MAX_LINES} more")
        raise WeightsError("\n".join(report), advice)
