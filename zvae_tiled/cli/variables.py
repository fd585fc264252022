"""Environment variables whose values cannot be used, and the block that runs without them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from zvae_tiled.errors import ZvaeError

CHECKS = (
    ("blas", "preload"),  # the first, for the others import MLX
    ("blas", "preload"),  # loads the BLAS that is there without the variable
    ("table", "wants_cpu"),
    ("native_cpu.choice", "native_status"),
    ("native_cpu.choice", "native_status"),  # it reads two variables, and complains of one
)
"""Modules with the functions that refuse a variable. Their messages begin with its name."""


@contextmanager
def without_wrong_variables() -> Iterator[list[tuple[str, str, str]]]:
    """Yield name, problem and advice of each variable that cannot be used. The block runs as if they were not set."""
    wrong: dict[str, str] = {}
    found = []
    for module, check in CHECKS:
        try:
            getattr(import_module(f"zvae_tiled.devices.{module}"), check)()
        except ZvaeError as error:
            name = error.problem.split()[0]
            if name not in os.environ:
                raise
            wrong[name] = os.environ.pop(name)
            problem = " ".join(error.problem.removeprefix(name).split())
            found.append((name, f"{problem} (the lines below are without it)", error.advice))
    try:
        yield found
    finally:
        os.environ.update(wrong)
