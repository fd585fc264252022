"""Offloading of diffusers and accelerate: from the module that is replaced, to the one in its place."""

from __future__ import annotations

from typing import Any

from zvae_tiled.errors import InputError


def weights_here(module: Any) -> Any:
    """Bring the weights of a module back into it, if accelerate has offloaded them.

    Returns:
        The device that it was offloaded from, or None.

    Raises:
        InputError: Its weights are on disk, and the module holds anything in their place.
    """
    for each in module.modules():
        registry = getattr(each, "_diffusers_hook", None)
        group = registry.get_hook("group_offloading") if registry is not None else None
        if group is not None and group.config.offload_to_disk_path is not None:
            raise InputError(
                "use() needs the weights of the VAE, and enable_group_offload has moved them to disk",
                "Call use() before the pipeline moves groups of layers to disk.",
            )
    hooks = [each._hf_hook for each in module.modules() if hasattr(each, "_hf_hook")]
    if not hooks:
        return None
    from accelerate.hooks import remove_hook_from_module

    remove_hook_from_module(module, recurse=True)
    devices = (getattr(hook, "execution_device", None) for hook in hooks)
    return next((device for device in devices if device is not None), "cpu")


def offload_again(pipe: Any, device: Any) -> None:
    """Offload the new VAE of a pipeline as its old one was."""
    if device is None:
        return
    if getattr(pipe, "_all_hooks", None):  # by enable_model_cpu_offload: each model's hook names the one before it
        pipe.enable_model_cpu_offload(device=pipe._offload_device)
        return
    from accelerate import cpu_offload

    cpu_offload(pipe.vae, device)


def bare(kept: Any) -> Any:
    """Return a module's own tensors as a module, without hooks, which would hold the VAE that they come from."""
    import torch

    if not isinstance(kept, torch.nn.Module):
        return kept
    copy = torch.nn.Module()
    for name, tensor in kept.named_parameters():
        copy.register_parameter(name, tensor)
    for name, tensor in kept.named_buffers():
        copy.register_buffer(name, tensor)
    return copy
