"""Everything that is wrong with a checkpoint, collected and said at once."""

from __future__ import annotations

from zvae_tiled.errors import WeightsError

MAX_LINES = 20
"""Lines shown a kind. The rest is counted: the wrong file would otherwise fill the screen."""

MAX_LETTERS = 300
"""Letters shown a line."""


class Complaints:
    """Kinds of faults in the order they were first met, each with its lines."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(self, kind: str, line: str) -> None:
        """Note one fault, a line of text, under its kind."""
        # Names come from the file: one may hold a terminal's escape codes, or a million letters.
        safe = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line[:MAX_LETTERS])
        self._lines.setdefault(kind, []).append(safe)

    def __bool__(self) -> bool:
        return bool(self._lines)

    def raise_if_any(self, subject: str, advice: str) -> None:
        """Raise one error that lists every fault.

        Args:
            subject: What is at fault, the start of the sentence.
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
