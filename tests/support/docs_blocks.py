"""The code blocks of a Markdown page, each with the comment in front of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = ("python", "sh", "diff")

_COMMENT = r"(?:<!-- (?P<kind>[a-z ]+): (?P<note>[^\n]*) -->\n)?"
_BLOCK = re.compile(_COMMENT + r"```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: The file it stands in.
        line: The line it begins in.
        language: ``python``, ``sh`` or ``diff``.
        code: Its text.
        kind: The kind of the comment in front of it: ``with``, ``not run``, ``command``, ``file``, ``edit`` or
            ``try``; None without a comment.
        note: The text of that comment.
    """

    page: Path
    line: int
    language: str
    code: str
    kind: str | None
    note: str | None


def blocks(page: Path) -> list[Block]:
    """Return the blocks that are code, in their order."""
    text = page.read_text()
    return [
        Block(page, text[: match.start("code")].count("\n") + 1, *match.group("language", "code", "kind", "note"))
        for match in _BLOCK.finditer(text)
        if match["language"] in LANGUAGES
    ]
