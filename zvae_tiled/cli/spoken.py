"""Turns the library's messages into those of the command line: options in place of Python's arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import click

_ALONE, _ENDS = r"(?<![\w/.,-])", r"(?!\w|/|-|[.,]\w)"
"""Before and behind an argument's name: there it is no part of a path."""

_PHRASES: tuple[tuple[str, str], ...] = (
    (r"Pass Latents\(\w+, layout=\"(\w+)\"\)", r"Use --layout \1"),
    (r"[Pp]ass Latents\(\w+, height=…, width=…\)(, in pixels)?", r"use --height and --width, in pixels"),
    (r"Latents\(\w+, layout=\"(\w+)\"\)", r"--layout \1"),
    (r"Latents\(\w+, height=…, width=…\)", r"--height and --width"),
    (r"Pass the name of one of them as name=", r"Name one with --tensor"),
    (r"Pass one of these names", r"Name one of these with --tensor"),
    (r"Leave out name=", r"Leave out --tensor"),
    (r", for example with zvae_tiled\.write_latent_file", r""),
    (r" or zvae_tiled\.write_latent_file, which do not", r", which does not"),
    (r"Pass the name of another tensor", r"Name another with --tensor"),
    (r"load the VAE with dtype=\"(\w+)\"", r"use --dtype \1"),
    (r"Crop or pad the picture first", r"Use --crop, which cuts right and bottom edges, or pad the picture"),
    (r", or set overwrite=True", r", or use --overwrite"),
    (r" A VAE loaded with decoder_only=True needs less\.", r""),
    (rf"{_ALONE}spill_folder{_ENDS}=?", r"--spill-folder"),
    (rf"{_ALONE}disk_limit=(?=\w)", r"--disk-limit "),
    (rf"{_ALONE}disk_limit{_ENDS}=?", r"--disk-limit"),
    (r"\bplan has no effect in stripes", r"--plan has no effect in stripes"),
    (r"Leave out plan, or", r"Leave out --plan, or"),
    (r"or the stripes", r"or --stripes"),
    (r"with work=True", r"with --work"),
    (r"with vae\.(video|decode)\b", r"with zvae \1"),
    (rf"{_ALONE}work=", r"--work"),
    (r"; in VAE\.load: dtype=\"(\w+)\"", r""),
    (r"Take Sampled\(keys=(\w+)\)", r"Use --keys \1"),
    (r"zvae_tiled\.plan\(\)", r"zvae plan"),
    (r"vae\.plan\(output=…\) for", r"zvae plan --output for"),
    (r"with vae\.plan\(\)", r"with zvae plan"),
    (r", or stream the rows \(vae\.stream, [^)]*\) with \w+", r""),
    (r" \(vae\.(stream|decode_to_file)\)", r""),
    (r"Pass vae=path, or call set_default_vae\(path\), or set", r"Name one with --vae, or set"),
    (r"Set config= to ", r"Set --config to "),
    (r"\"NCHW\"", r"NCHW"),
    (r"\(allow=\)", r"(--allow-different)"),
    (rf"{_ALONE}(budget|plan|quality|bits|config|layout|height|width|dtype)=['\"]?(\w*)['\"]?", r"--\1 \2"),
)
"""What the library says, and what is said here."""


_INTO_FOLDERS = ("decode", "encode", "plan")
"""Commands whose output may be a folder."""


def spoken(text: str) -> str:
    """Return a message of the library in the words of the command line. Names that were typed stay as they are."""
    context = click.get_current_context(silent=True)
    names = _misread(context, text) if context else []
    for number, name in enumerate(names):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", f"{_HIDDEN}{number}{_HIDDEN}", text)
    text = _in_options(text)
    for number, name in enumerate(names):
        text = text.replace(f"{_HIDDEN}{number}{_HIDDEN}", name)
    if context is not None and context.command.name in _INTO_FOLDERS:
        text = text.replace("Add one of these endings", "Add one of these endings, or a slash if it is a folder")
    for path, name in context.meta.get(_NAMES, {}).items() if context else ():
        text = text.replace(path, name)
    return text


def _in_options(text: str) -> str:
    for pattern, words in _PHRASES:
        text = re.sub(pattern, words, text)
    return re.sub(r"(--\w+) (?=[ .,;:)]|$)", r"\1", text)


_HIDDEN = "\ue000"
"""Stands around the number of a name that is hidden from the phrases. It is no letter of any language."""


def _misread(context: click.Context, text: str) -> list[str]:
    """Return names in a text that were typed, or follow from them, and look like Python's arguments; longest first."""
    names = {*_like_arguments(_typed(context.params)), *context.meta.get(_MATCHED, ())}
    return sorted((name for name in names if name in text), key=len, reverse=True)


def _like_arguments(words: Iterable[str]) -> Iterator[str]:
    """Yield the names that words give to files, of those that look like Python's arguments."""
    for word in words:
        path = Path(word)
        names = (word, str(path), path.name, path.stem, *map(str, path.parents))
        yield from (name for name in names if _in_options(name) != name)


def _typed(value: Any) -> Iterator[str]:
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, Mapping):
        yield from _typed(tuple(value.values()))
    elif isinstance(value, list | tuple):
        yield from chain.from_iterable(map(_typed, value))


_MATCHED = "zvae_tiled.matched"
"""Key in `ctx.meta` for names of the files that patterns match, if they look like Python's arguments."""


def keep_names(names: Iterable[str]) -> None:
    """Let messages say these names of files as they are."""
    click.get_current_context().meta.setdefault(_MATCHED, set()).update(_like_arguments(names))


_NAMES = "zvae_tiled.names"
"""Key in `ctx.meta` for names of temporary files."""


def show_as(path: Path, name: str) -> None:
    """Let messages say this name for a temporary file."""
    click.get_current_context().meta.setdefault(_NAMES, {})[str(path)] = name
