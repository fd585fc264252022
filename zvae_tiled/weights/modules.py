"""Reads a module of torch or MLX: its tensors by name, and its config if it keeps one. torch is never imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlx.utils import tree_flatten

from zvae_tiled.checks import a_kind
from zvae_tiled.errors import InputError
from zvae_tiled.families import VAEConfig, config_from
from zvae_tiled.weights.arrays import Arrays

_OWN = ("_use_default_values", "_class_name")
"""Keys with which diffusers marks a config in memory. Only a config from a file names the class."""


def module_tensors(module: Any) -> Arrays:
    """Return the tensors of a module.

    Raises:
        InputError: It is not a module.
        WeightsError: Its tensors are not arrays.
    """
    whole = _uncompiled(module)
    if hasattr(getattr(getattr(whole, "bounded", whole), "vae", None), "decode_to_file"):
        problem = "module is the bounded VAE that use() has put there, and has no weights of its own"
        raise InputError(problem, "Decode with the VAE that use() returned.")
    if callable(getattr(whole, "state_dict", None)):
        return Arrays(whole.state_dict())
    if isinstance(whole, Mapping) and callable(getattr(whole, "parameters", None)):
        return Arrays(dict(tree_flatten(whole.parameters())))  # type: ignore[attr-defined]
    advice = "Pass vae, not the pipeline." if hasattr(whole, "vae") else "Pass a dict to VAE.from_state_dict."
    raise InputError(f"module must be a module of torch or MLX, not {a_kind(module)}", advice)


def module_config(module: Any) -> VAEConfig | None:
    """Return the config that a module of diffusers keeps; None if it keeps none.

    Raises:
        ConfigError: It describes no VAE that can be built.
    """
    whole = _uncompiled(module)
    kept = getattr(whole, "config", None)
    if not isinstance(kept, Mapping) or not hasattr(whole, "state_dict"):
        return None
    values = {key: value for key, value in kept.items() if key not in _OWN}
    return config_from({**values, "_class_name": type(whole).__name__}, f"the config of {a_kind(whole)}")


def _uncompiled(module: Any) -> Any:
    """Return the module inside one of torch.compile."""
    return getattr(module, "_orig_mod", module)
