"""What programs ask of a VAE of diffusers beside decode and encode: done, without effect, or refused."""

from __future__ import annotations

import warnings
from typing import Any, NoReturn, Self

import torch
from diffusers.configuration_utils import FrozenDict

from zvae_tiled.checks import a_kind
from zvae_tiled.errors import InputError

BEFORE = "Do that with the pipeline's own VAE, before use()."


class MissingError(InputError, AttributeError):
    """A bounded VAE does not have what was asked for. `hasattr` is False."""


class Manners(torch.nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    """The methods that need no weights. `to`, `eval`, `half` and `requires_grad_` are torch's."""

    config: Any
    use_tiling = use_slicing = False

    def __getattr__(self, name: str) -> Any:
        """Refuse what diffusers' class has and this one cannot, as `set_attn_processor`. Read the config as it does."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in self.__dict__.get("config", ()):
                warnings.warn(f"write vae.config.{name}, as diffusers asks", FutureWarning, stacklevel=2)
                return self.config[name]
            if not hasattr(self.__dict__.get("_kind"), name):
                raise
        raise MissingError(f"a bounded VAE has no {name}: it computes by MLX, without layers", BEFORE)

    def enable_tiling(self, *args: Any, **options: Any) -> None:
        """Do nothing, and say so."""
        del args, options
        warnings.warn("tiling has no effect: the VAE keeps to its budget without tiles", stacklevel=2)

    def disable_tiling(self) -> None:
        """Do nothing: there are no tiles."""

    def enable_slicing(self) -> None:
        """Do nothing: the pictures of a batch are decoded one after the other anyway."""

    def disable_slicing(self) -> None:
        """Do nothing."""

    def enable_group_offload(self, *args: Any, **options: Any) -> None:
        """Do nothing: the weights are MLX's. The pipeline offloads its other models."""

    def register_to_config(self, **changes: Any) -> None:
        """Change what the pipeline reads from the config, such as ``force_upcast``."""
        self.config = FrozenDict({**self.config, **changes})

    def train(self, mode: bool = True) -> Self:
        """Refuse to train.

        Raises:
            InputError: ``mode`` is True.
        """
        if mode:
            raise InputError("a bounded VAE cannot be trained: it computes no gradients", BEFORE)
        return self

    def load_state_dict(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse new weights.

        Raises:
            InputError: Always.
        """
        del args, options
        raise InputError("the weights of a bounded VAE cannot be replaced", "Load them into the pipeline before use().")

    def save_pretrained(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse: the weights are no longer those of the module.

        Raises:
            InputError: Always.
        """
        del args, options
        raise InputError("a bounded VAE cannot be saved", "Save the pipeline before use().")


def without_gradient(given: torch.Tensor) -> torch.Tensor:
    """Return a tensor apart from torch's graph.

    Raises:
        InputError: It is no tensor, or a gradient is expected from it.
    """
    if not isinstance(given, torch.Tensor):
        raise InputError(f"a bounded VAE needs a tensor of torch, and got {a_kind(given)}")
    if given.requires_grad and torch.is_grad_enabled():
        raise InputError("a bounded VAE computes no gradients, which its input requires", "Call it in torch.no_grad().")
    return given.detach()
