"""What a VAE is made of: `VAEConfig`, read strictly from a diffusers ``config.json`` or a preset's name.

Every key of a config falls in one of three sets, listed here and nowhere else:

* the fields of `VAEConfig`: checked, then used;
* `HARMLESS`: they do not change what a decode computes, and are ignored;
* everything else could change the architecture, and is refused by name.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from zvae_tiled.errors import ConfigError
from zvae_tiled.wording import listed

MAX_CONFIG_BYTES = 1 << 16
MAX_CHANNELS = 1 << 16
MAX_LEVELS = 8
MAX_RESNETS = 120
"""Of a decoder, in all its levels: published ones have 12 to 24. The planner is quick for so many, and not for more."""

HARMLESS = frozenset({"_diffusers_version", "_name_or_path", "_commit_hash", "sample_size"})
"""Keys that a decode does not depend on: provenance, and the size diffusers would start to tile at."""

ONLY_VALUE: Mapping[str, Any] = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "latents_mean": None,
    "latents_std": None,
}
"""Keys that may be present, but only with the one value this package implements."""


@dataclass(frozen=True)
class VAEConfig:
    """The shape of an AutoencoderKL; names and defaults are those of diffusers.

    Attributes:
        in_channels: Channels of the picture the encoder reads.
        out_channels: Channels of the picture the decoder writes.
        latent_channels: Channels of the latents.
        block_out_channels: Width of each level, from the picture's resolution down to the latents'.
        layers_per_block: Resnets a level of the encoder; the decoder has one more.
        norm_num_groups: Groups of every GroupNorm.
        down_block_types: One ``DownEncoderBlock2D`` a level.
        up_block_types: One ``UpDecoderBlock2D`` a level.
        scaling_factor: A pipeline's latents are the encoder's times this.
        shift_factor: Subtracted before scaling, where the family has one.
        use_quant_conv: Whether a 1×1 convolution follows the encoder.
        use_post_quant_conv: Whether a 1×1 convolution precedes the decoder.
        mid_block_add_attention: Whether the middle block attends over the whole picture.
        force_upcast: The published weights overflow in float16 and want a wider type.
    """

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    norm_num_groups: int = 32
    down_block_types: tuple[str, ...] = field(default=())
    up_block_types: tuple[str, ...] = field(default=())
    scaling_factor: float = 0.18215
    shift_factor: float | None = None
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True
    force_upcast: bool = True

    def __post_init__(self) -> None:
        for name in ("block_out_channels", "down_block_types", "up_block_types"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))
        levels = len(self.block_out_channels) if isinstance(self.block_out_channels, tuple) else 0
        for name, block in (
            ("down_block_types", "DownEncoderBlock2D"),
            ("up_block_types", "UpDecoderBlock2D"),
        ):
            if getattr(self, name) == ():
                object.__setattr__(self, name, (block,) * levels)
        _check(self)

    @property
    def scale(self) -> int:
        """Picture pixels a latent pixel stands for, in each direction."""
        return int(2 ** (len(self.block_out_channels) - 1))

    @classmethod
    def preset(cls, name: str) -> VAEConfig:
        """Return the published configuration of a family.

        Args:
            name: One of ``z-image``, ``flux1``, ``sd1``, ``sdxl``, ``sd3``.

        Raises:
            ConfigError: There is no preset of that name.
        """
        try:
            return PRESETS[name]
        except (KeyError, TypeError):
            raise ConfigError(
                f"no preset is called {name!r}",
                f"Presets: {', '.join(sorted(PRESETS))}; or give a config.json.",
            ) from None

    @classmethod
    def of(cls, value: VAEConfig | str | os.PathLike[str]) -> VAEConfig:
        """Return a config as it is, a preset by its name, or a ``config.json`` by its path.

        Raises:
            ConfigError: It is none of them.
        """
        if isinstance(value, VAEConfig):
            return value
        if isinstance(value, str) and not value.endswith(".json"):
            return cls.preset(value)
        if isinstance(value, str | os.PathLike):
            return cls.from_file(value)
        raise ConfigError(f"a config must be a VAEConfig, a preset's name or a config.json, it is {_short(value)}")

    def different_from(self, other: VAEConfig) -> str:
        """Return the fields, with their values, in which this config differs from another."""
        names = [f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> VAEConfig:
        """Read a diffusers ``config.json``.

        Raises:
            ConfigError: The file cannot be read, is too large, is not JSON, or describes no VAE known here.
        """
        source = os.fspath(path)
        return cls.from_dict(_parse(_read(Path(path)), source), source=source)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "config") -> VAEConfig:
        """Build a config from the parsed JSON of diffusers.

        Args:
            values: The keys of a ``config.json``.
            source: What to call it in an error.

        Raises:
            ConfigError: A key is unknown, or a value is of the wrong type or impossible.
        """
        if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
            raise ConfigError(f"{source} must be the keys and values of a config.json, it is {_short(values)}")
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known - HARMLESS - set(ONLY_VALUE))
        if unknown:
            raise ConfigError(
                f"{source}: unknown keys that may change the architecture: {listed(map(repr, unknown))}",
                "Only diffusers' AutoencoderKL is built here; is this the config.json of the VAE itself?",
            )
        for name, only in ONLY_VALUE.items():
            if values.get(name, only) != only:
                raise ConfigError(f"{source}: {name} must be {only!r}, it is {_short(values[name])}")
        given = {name: _frozen(values[name]) for name in known & set(values)}
        try:
            return cls(**given)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error.problem}", error.advice) from None


def _read(path: Path) -> bytes:
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ConfigError(f"{path} is not a regular file", "Give the config.json of a VAE.")
            data = file.read(MAX_CONFIG_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path} cannot be read: {reason}", "Give the config.json of a VAE.") from error
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes; a VAE's config.json has about 1,000")
    return data


def _parse(data: bytes, source: str) -> Mapping[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            twice = sorted(key for key, count in counts.items() if count > 1)
            raise ConfigError(f"{source}: {listed(map(repr, twice))} stands there more than once")
        return values

    try:
        values = json.loads(data, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{source} must hold a JSON object, it holds a {type(values).__name__}")
    return values


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _check(config: VAEConfig) -> None:
    for name in ("in_channels", "out_channels", "latent_channels", "layers_per_block", "norm_num_groups"):
        _check_count(name, getattr(config, name))
    widths = config.block_out_channels
    if not isinstance(widths, tuple) or not 1 <= len(widths) <= MAX_LEVELS:
        raise ConfigError(f"block_out_channels must list 1 to {MAX_LEVELS} widths, it is {_short(widths)}")
    for i, width in enumerate(widths):
        _check_count(f"block_out_channels[{i}]", width)
        if width % config.norm_num_groups:
            raise ConfigError(
                "norm_num_groups must divide every width in block_out_channels: "
                f"{config.norm_num_groups} does not divide {width}"
            )
    resnets = len(widths) * (config.layers_per_block + 1)
    if resnets > MAX_RESNETS:
        raise ConfigError(
            f"layers_per_block is {config.layers_per_block}: with {len(widths)} levels the decoder has {resnets:,} "
            f"resnets, at most {MAX_RESNETS} are planned",
            "Check layers_per_block and block_out_channels; published VAEs have at most 24 resnets.",
        )
    for name, block in (("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")):
        kinds = getattr(config, name)
        if kinds != (block,) * len(widths):
            raise ConfigError(f"{name} must be {block!r} once for each of {len(widths)} levels, it is {_short(kinds)}")
    for name in ("use_quant_conv", "use_post_quant_conv", "mid_block_add_attention", "force_upcast"):
        value = getattr(config, name)
        if not isinstance(value, bool):
            raise ConfigError(f"{name} must be true or false, it is {_short(value)}")
    _check_number("scaling_factor", config.scaling_factor)
    if config.scaling_factor <= 0:
        raise ConfigError(f"scaling_factor must be above 0, it is {config.scaling_factor}")
    if config.shift_factor is not None:
        _check_number("shift_factor", config.shift_factor)


def _check_count(name: str, value: object) -> None:
    # bool is an int to Python; `true` channels are a mistake all the same.
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_CHANNELS:
        raise ConfigError(f"{name} must be a whole number from 1 to {MAX_CHANNELS}, it is {_short(value)}")


def _check_number(name: str, value: object) -> None:
    # 1e30: what float32 and bfloat16 can divide by and still tell from zero and infinity.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} must be a number, it is {_short(value)}")
    if isinstance(value, int) and abs(value) > 1 << 100:  # too long for a float
        raise ConfigError(f"{name} must be of a sane size, it is {_short(value)}")
    if not math.isfinite(value) or abs(value) > 1e30 or 0 < abs(value) < 1e-30:
        raise ConfigError(f"{name} must be finite and of a sane size, it is {value}")


_FLUX = VAEConfig(
    latent_channels=16,
    block_out_channels=(128, 256, 512, 512),
    layers_per_block=2,
    scaling_factor=0.3611,
    shift_factor=0.1159,
    use_quant_conv=False,
    use_post_quant_conv=False,
)
_SD = VAEConfig(block_out_channels=(128, 256, 512, 512), layers_per_block=2)

PRESETS: Mapping[str, VAEConfig] = {
    "z-image": _FLUX,  # Tongyi-MAI/Z-Image-Turbo ships the VAE of FLUX.1 unchanged
    "flux1": _FLUX,  # black-forest-labs/FLUX.1-dev, vae/config.json
    "sd1": _SD,  # runwayml/stable-diffusion-v1-5, vae/config.json
    "sdxl": replace(_SD, scaling_factor=0.13025),  # stabilityai/stable-diffusion-xl-base-1.0, vae/config.json
    "sd3": replace(
        _FLUX, scaling_factor=1.5305, shift_factor=0.0609
    ),  # stabilityai/stable-diffusion-3-medium-diffusers, vae/config.json
}
