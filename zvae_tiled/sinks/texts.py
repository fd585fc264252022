"""Texts that a file of latents hands on to the picture: prompt, workflow and others. Each is checked and counted."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping

from zvae_tiled.checks import shown
from zvae_tiled.errors import LatentsError

MOST_BYTES = 1 << 20
"""The most bytes of all texts. Workflows have 10 to 100 kB; some tools put whole pictures into them."""

MOST_TEXTS = 64

_NAME = re.compile(r"(?!.*  )[!-~]([ -~]{0,77}[!-~])?")
"""A keyword of a PNG, in ASCII: no space at an end, and no two in a row."""

MOST_WARNINGS = 20
"""A file may hold a million names, of which most are left out."""

_CONTROL = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]")
"""What no picture's text may hold: control characters, NUL among them, and halves of surrogate pairs."""

_ADVICE = 'Write texts={"prompt": "a lighthouse"}.'

_LOG = logging.getLogger("zvae_tiled")


def kept_texts(texts: Mapping[str, str], room: int, where: str) -> dict[str, str]:
    """Return the texts that fit, short ones first. What is left out is said by the logger ``zvae_tiled``.

    Args:
        texts: The texts by name.
        room: The most bytes that they may have together, as JSON.
        where: The file, in a warning.

    Raises:
        LatentsError: A name or a text is not a str.
    """
    check_texts(texts)
    kept: dict[str, str] = {}
    left, out = min(room, MOST_BYTES), 0
    for name, text in sorted(texts.items(), key=lambda pair: (len(pair[1]), pair[0])):
        problem = _problem(name, text, left, len(kept))
        if problem is None:
            kept[name] = text
            left -= size_of({name: text})
            continue
        out += 1
        if out <= MOST_WARNINGS:
            _LOG.warning("%s: the text %.60r is left out: %s", where, name, problem)
    if out > MOST_WARNINGS:
        _LOG.warning("%s: %s more texts are left out", where, f"{out - MOST_WARNINGS:,}")
    return kept


def check_texts(texts: object) -> None:
    """Refuse what is no dict of text.

    Raises:
        LatentsError: A name or a text is not a str.
    """
    if not isinstance(texts, Mapping):
        raise LatentsError(f"texts must be a dict of text, it is {shown(texts)}", _ADVICE)
    for name, text in texts.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise LatentsError(f"texts must be a dict of text, it holds {shown(name)}: {shown(text)}", _ADVICE)


def size_of(texts: Mapping[str, str]) -> int:
    """Return the bytes of texts as JSON, which are never fewer than those of UTF-8."""
    return len(json.dumps(dict(texts))) if texts else 0


def _problem(name: str, text: str, left: int, count: int) -> str | None:
    """Return why a text cannot be kept; None if it can."""
    if count >= MOST_TEXTS:
        return f"there are more than {MOST_TEXTS}"
    if not _NAME.fullmatch(name[:80]):
        return "a name has 1 to 79 letters of ASCII, and no two spaces in a row"
    if len(text) > left or size_of({name: text}) > left:  # its length first: a long one is not copied
        return f"it is longer than the {left:,} bytes that are left for it"
    if _CONTROL.search(text):
        return "it holds control characters"
    return None
