"""What ComfyUI is asked for while it waits for a node: memory, its progress bar, and whether its user has cancelled."""

from __future__ import annotations

from typing import Any

from zvae_tiled.devices.here import device_kind
from zvae_tiled.report.progress import Listener, Progress

BAR = 1000
"""Steps of the progress bar."""


def make_room(vae: Any, needed: int) -> None:
    """Ask ComfyUI to unload models until so many bytes are free, where MLX will compute."""
    import torch
    from comfy import model_management

    model_management.free_memory(needed, torch.device("cpu") if device_kind() == "cpu" else vae.device)


def listener() -> Listener:
    """Return a listener that moves ComfyUI's progress bar, and raises its exception when the user has cancelled."""
    from comfy import model_management, utils

    bar = utils.ProgressBar(BAR)

    def listen(progress: Progress) -> None:
        model_management.throw_exception_if_processing_interrupted()
        step = round(progress.done * BAR)
        if step > bar.current:  # each step is a message to the browser
            bar.update_absolute(step)

    return listen
