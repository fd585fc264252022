"""Reads a config.json strictly: a regular file of at most 66 kB, one JSON object, no key twice."""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zvae_tiled.checks import TwiceError, once
from zvae_tiled.errors import ConfigError

MAX_CONFIG_BYTES = 1 << 16


def read_file(path: Path) -> bytes:
    """Return the bytes of a config.json.

    Raises:
        ConfigError: It cannot be read, or is too large.
    """
    try:
        with io.FileIO(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path} is not a regular file", "Give the config.json of a VAE.")
            data = file.read(MAX_CONFIG_BYTES + 1) or b""
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path} cannot be read: {reason}", "Give the config.json of a VAE.") from error
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_CONFIG_BYTES:,} bytes; the config.json of a VAE has about 1,000")
    return data


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO would wait for a writer


def parse_json(data: bytes, source: str) -> Mapping[str, Any]:
    """Return the keys and values of a JSON object, each key once.

    Raises:
        ConfigError: The data is not JSON, not an object, or has a key twice.
    """
    try:
        values = json.loads(data, object_pairs_hook=once)
    except TwiceError as error:
        raise ConfigError(f"{source}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{source} must hold a JSON object, it holds a {type(values).__name__}")
    return values
