"""What the fields of an `Order` may hold: their names, types and values, checked before any file is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from zvae_tiled.checks import nearest, one_of, path_of, shown
from zvae_tiled.errors import InputError
from zvae_tiled.planner.budget import Available, parse_budget
from zvae_tiled.planner.case import ITEMSIZES, MAX_SIDE
from zvae_tiled.planner.files import parse
from zvae_tiled.planner.quality import QUALITIES, Quality
from zvae_tiled.planner.storage import disk_limit_of
from zvae_tiled.wording import listed

BITS = (8, 16, 32)
"""Bits of a channel that some kind of file has."""

SEEDS = 1 << 64
"""Seeds are below this."""

_TEXTS = ("config", "budget", "plan", "tensor", "layout", "spill_folder", "disk_limit", "work", "tiny")
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("task", "vae", "source", "target", "dtype"), (str,)),
    **dict.fromkeys(_TEXTS, (str, type(None))),
    **dict.fromkeys(("height", "width", "bits", "sample"), (int, type(None))),
    **dict.fromkeys(("overwrite", "crop", "preview", "texts"), (bool,)),
}
_WORDS = {str: "text", int: "a whole number", bool: "true or false", type(None): "null"}


def check_names(names: Iterable[object], known: Iterable[str], what: str) -> None:
    """Refuse names that are no fields.

    Raises:
        InputError: One is none. The error says which was meant.
    """
    there = list(known)
    for name in names:
        if name not in there:
            advice = nearest(name, there) or f"Its fields: {listed(there) or 'none'}."
            raise InputError(f"{what} has no field {shown(name)}", advice)


def read_quality(values: Any) -> Quality:
    """Read a quality from JSON: an object with its name and its options.

    Raises:
        InputError: It is none. The error names what is wrong.
    """
    if not isinstance(values, dict):
        raise InputError(f"an order's quality must be an object with a name, it is {shown(values)}")
    options = dict(values)
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in QUALITIES:
        raise InputError(
            f"an order's quality must have a name of {', '.join(QUALITIES)}; it is {shown(name)}",
            nearest(name, QUALITIES),
        )
    kind = QUALITIES[name]
    check_names(options, (each.name for each in fields(kind)), f"the quality {name} of an order")
    try:
        return kind(**options)
    except InputError as error:
        raise type(error)(f"an order's quality: {error.problem}", error.advice) from error


def check_kinds(values: Mapping[str, Any]) -> None:
    """Refuse values of the wrong type.

    Raises:
        InputError: One is refused. The error names its field.
    """
    for name, kinds in _KINDS.items():
        if type(values[name]) not in kinds:
            wanted = " or ".join(_WORDS[kind] for kind in kinds)
            raise InputError(f"an order's {name} must be {wanted}, it is {shown(values[name])}")


def check_values(values: Mapping[str, Any]) -> None:
    """Refuse values of the right type that mean nothing.

    Raises:
        InputError: One is refused. The error names its field.
    """
    for name, check in _MEANINGS.items():
        for value in values[name] if name == "also" else [values[name]]:
            if value is None:
                continue
            try:
                check(value)
            except InputError as error:
                said = error.problem
                joined = f" {said.removeprefix('it ')}" if said.startswith("it must") else f": {said}"
                raise type(error)(f"an order's {name}{joined}", error.advice) from error


def _within(least: int, most: int, unit: str) -> Callable[[int], None]:
    def check(value: int) -> None:
        if not least <= value <= most:
            raise InputError(f"it must be {least:,} to {most:,}{unit}, it is {shown(value)}")

    return check


def _bits(value: int) -> None:
    if value not in BITS:
        raise InputError(f"it must be {', '.join(map(str, BITS))}, it is {shown(value)}")


def _layout(value: str) -> None:
    if value not in ("NCHW", "NHWC"):
        raise InputError(f"it must be NCHW or NHWC, it is {shown(value)}")


_MEANINGS: dict[str, Callable[[Any], object]] = {
    **dict.fromkeys(
        ("vae", "source", "target", "also", "config", "spill_folder", "work", "tiny"),
        lambda value: path_of(value, "it"),
    ),
    "dtype": lambda value: one_of("it", value, tuple(ITEMSIZES)),
    "budget": lambda value: parse_budget(value, Available(1 << 40)),
    "disk_limit": disk_limit_of,
    "plan": parse,
    "layout": _layout,
    "bits": _bits,
    **dict.fromkeys(("height", "width"), _within(1, MAX_SIDE, " pixels")),
    "sample": _within(0, SEEDS - 1, ""),
}
"""What refuses a value that means nothing, by field."""
