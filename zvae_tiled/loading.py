"""From a checkpoint to a model that has its weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten

from zvae_tiled.config import PRESETS, VAEConfig
from zvae_tiled.errors import ConfigError
from zvae_tiled.protect import Source
from zvae_tiled.weights import load_weights
from zvae_tiled.weights.find import Checkpoint

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}


def dtype_name(dtype: mx.Dtype) -> str:
    """Return what `VAE.load` calls this type."""
    return next(name for name, known in DTYPES.items() if known == dtype)


def chosen_config(config: VAEConfig | str | os.PathLike[str] | None, beside: os.PathLike[str] | None) -> VAEConfig:
    """Return the config that was named, else the one beside the weights.

    Raises:
        ConfigError: There is neither, or it is not one that can be built.
    """
    if config is not None:
        return VAEConfig.of(config)
    if beside is None:
        raise ConfigError(
            "there is no config.json beside the weights, and config= was not given",
            "Say config='z-image', 'flux1', 'sd1', 'sdxl' or 'sd3', or the path of a config.json.",
        )
    return VAEConfig.from_file(beside)


def sources_of(checkpoint: Checkpoint, config: VAEConfig | str | os.PathLike[str] | None) -> tuple[Source, ...]:
    """Return the files that a VAE is loaded from.

    Args:
        checkpoint: Its weights.
        config: What `chosen_config` takes.
    """
    named = [] if config is None or isinstance(config, VAEConfig) or config in PRESETS else [Path(config)]
    return tuple(Source.of(path) for path in (*checkpoint.paths, *named))


def load_model(model: nn.Module, checkpoint: Any, dtype: mx.Dtype) -> None:
    """Fill a model tensor by tensor; its own random numbers are never computed."""
    shapes = parameter_shapes(model)
    absent = () if "encoder" in model else ("encoder.", "quant_conv.")
    load_weights(
        checkpoint,
        shapes,
        dtype,
        assign=lambda name, array: model.update(tree_unflatten([(name, array)])),
        ignore=absent,
    )


def parameter_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the name and the shape of every parameter, without computing one."""
    leaves: list[tuple[str, mx.array]] = tree_flatten(model.parameters())  # type: ignore[assignment]
    return {name: array.shape for name, array in leaves}
