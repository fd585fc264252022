"""Checks of config fields; each raises a ConfigError that names the field."""

from __future__ import annotations

import math

from zvae_tiled.checks import shown
from zvae_tiled.errors import ConfigError

MAX_CHANNELS = 1 << 16
MAX_LEVELS = 8

MAX_RESNETS = 40
"""Resnets of a decoder, at most. Published ones have 12 to 24; planning 40 takes less than a second."""


def check_count(name: str, value: object, most: int = MAX_CHANNELS) -> None:
    """Refuse a value that is not a whole number from 1 to `most`."""
    # bool is an int to Python; `true` channels are a mistake all the same.
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ConfigError(f"{name} must be a whole number from 1 to {most}, it is {shown(value)}")


def check_number(name: str, value: object) -> None:
    """Refuse a value that is not a number, or that float32 and bfloat16 round to zero or infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} must be a number, it is {shown(value)}")
    if isinstance(value, int) and abs(value) > 1 << 100:  # too long for a float
        raise ConfigError(f"{name} must be between -1e30 and 1e30, it is {shown(value)}")
    if not math.isfinite(value) or abs(value) > 1e30 or 0 < abs(value) < 1e-30:
        raise ConfigError(f"{name} must be finite, and 0 or between 1e-30 and 1e30 in magnitude; it is {value}")


def check_flag(name: str, value: object) -> None:
    """Refuse a value that is neither true nor false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false, it is {shown(value)}")


def check_widths(name: str, widths: object, groups: int, levels: int | None = None) -> None:
    """Refuse a value that is not a list of widths, each a multiple of `groups`."""
    if not isinstance(widths, tuple) or not 1 <= len(widths) <= MAX_LEVELS:
        raise ConfigError(f"{name} must list 1 to {MAX_LEVELS} widths, it is {shown(widths)}")
    if levels is not None and len(widths) != levels:
        raise ConfigError(f"{name} must list {levels} widths, as block_out_channels does, it is {shown(widths)}")
    for level, width in enumerate(widths):
        check_count(f"{name}[{level}]", width)
        if width % groups:
            raise ConfigError(f"norm_num_groups must divide every width in {name}: {groups} does not divide {width}")


def check_means(means: object, deviations: object, channels: int) -> None:
    """Refuse values that are not a mean and a deviation above 0 for each channel of the latents."""
    for name, values in (("latents_mean", means), ("latents_std", deviations)):
        if not isinstance(values, tuple) or len(values) != channels:
            raise ConfigError(f"{name} must list {channels} numbers, one a latent channel, it is {shown(values)}")
        for channel, value in enumerate(values):
            check_number(f"{name}[{channel}]", value)
            if name == "latents_std" and value <= 0:
                raise ConfigError(f"{name}[{channel}] must be above 0, it is {value}")


def check_resnets(levels: int, layers: int, name: str = "layers_per_block", widths: str = "block_out_channels") -> None:
    """Refuse a decoder with so many resnets that planning would be slow."""
    resnets = levels * (layers + 1)
    if resnets > MAX_RESNETS:
        raise ConfigError(
            f"{name} is {layers}: with {levels} levels the decoder has {resnets:,} resnets, "
            f"at most {MAX_RESNETS} are planned",
            f"Check {name} and {widths}; published VAEs have at most 24 resnets.",
        )


def frozen(value: object) -> object:
    """Return a list as a tuple."""
    return tuple(value) if isinstance(value, list) else value
