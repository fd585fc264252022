"""Metadata of latents in a file: their layout, the picture's size, whether they are packed, whether they are scaled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import mlx.core as mx

from zvae_tiled.errors import LatentsError
from zvae_tiled.inputs.arrays import shape_text
from zvae_tiled.inputs.latents import Layout

NAMES = ("layout", "height", "width", "packed", "scaled", "scale")
"""The names that are read. ``scale`` is another name for ``scaled``."""

_OWN = ("format", "Software")
"""``format`` is what safetensors' own writers note; ``Software`` is a note of ours in pictures (sinks/notes.py)."""

_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Metadata:
    """The metadata of a file; None where it has none."""

    layout: Layout | None = None
    height: int | None = None
    width: int | None = None
    packed: bool | None = None
    scaled: bool | None = None


def parse_metadata(text: Mapping[str, str], source: str) -> Metadata:
    """Read the values of `NAMES`. Other names are ignored.

    Raises:
        LatentsError: A value is invalid, or two values contradict each other.
    """
    height, width = _size(text, "height", source), _size(text, "width", source)
    packed, layout = _flag(text, "packed", source), text.get("layout")
    if layout not in (None, "NCHW", "NHWC"):
        raise LatentsError(f"{source}: layout must be NCHW or NHWC, it is {layout!r:.40}", _AGAIN)
    if (height is None) != (width is None):
        raise LatentsError(f"{source}: height is {height}, width is {width}; both are needed, or neither", _AGAIN)
    if packed and layout is not None:
        raise LatentsError(f"{source}: packed tokens have no layout, but layout is {layout}", _AGAIN)
    scaled, scale = _flag(text, "scaled", source), _flag(text, "scale", source)
    if scaled is not None and scale is not None and scaled != scale:
        raise LatentsError(f"{source}: scaled and scale mean the same, but contradict each other", _AGAIN)
    return Metadata(cast(Layout | None, layout), height, width, packed, scale if scaled is None else scaled)


def other_texts(text: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata that says nothing about the array, nor about how a picture was decoded."""
    return {name: value for name, value in text.items() if name not in (*NAMES, *_OWN) and not name.startswith("zvae_")}


def check_packed(array: mx.array, source: str) -> None:
    """Refuse an array that cannot be packed tokens.

    Raises:
        LatentsError: It has more than 3 axes.
    """
    if array.ndim > 3:
        raise LatentsError(
            f"{source}: packed tokens have 2 or 3 axes, these latents have the shape {shape_text(array.shape)}",
            "Only packed tokens need height and width: leave out height, width and packed.",
        )


_AGAIN = "Write the file again, for example with zvae_tiled.write_latent_file."


def _size(text: Mapping[str, str], name: str, source: str) -> int | None:
    value = text.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value) > 0):
        raise LatentsError(f"{source}: {name} must be the picture's {name} in pixels, it is {value!r:.40}", _AGAIN)
    return int(value)


def _flag(text: Mapping[str, str], name: str, source: str) -> bool | None:
    value = text.get(name)
    if value is None:
        return None
    if value.lower() not in _FLAGS:
        raise LatentsError(f"{source}: {name} must be true or false, it is {value!r:.40}", _AGAIN)
    return _FLAGS[value.lower()]
