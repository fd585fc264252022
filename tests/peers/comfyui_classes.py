"""Holds decode and encode to ComfyUI's own classes, one of each family, with random weights at published width.

``python -m tests.peers.comfyui_classes CHECKOUT``, by the Python of `tests.peers.comfyui_check`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.support.models import random_tensors
from zvae_tiled.adapters import comfyui

BUDGET = "2GB"


def randomised(module: Any, **scalars: float) -> dict[str, Any]:
    """A module's state dict with random values: ComfyUI leaves those of a new module as they lie in memory."""
    shapes = {name: tuple(values.shape) for name, values in module.state_dict().items()}
    values = random_tensors({name: shape for name, shape in shapes.items() if shape})
    return {name: torch.tensor(array) for name, array in {**values, **scalars}.items()}


def families() -> Iterator[tuple[str, dict[str, Any], tuple[int, ...]]]:
    """The name of each family, a state dict, and a shape of latents."""
    from comfy.ldm.models.autoencoder import AutoencoderKL
    from comfy.ldm.wan.vae import WanVAE
    from comfy.taesd.taesd import TAESD

    widths = {"ch": 128, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}
    ends = {"double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3}
    yield "Stable Diffusion", randomised(AutoencoderKL(ddconfig={**widths, **ends}, embed_dim=4)), (2, 4, 5, 6)
    yield "TAEF1", randomised(TAESD(latent_channels=16), vae_scale=0.3611, vae_shift=0.1159), (2, 16, 5, 6)
    wan = WanVAE(96, 16, [1, 2, 4, 4], 2, [], [False, True, True], 0.0)
    yield "Qwen-Image, Wan 2.1", randomised(wan), (1, 16, 1, 5, 6)
    yield "pixel space", {"pixel_space_vae": torch.tensor(1.0)}, (1, 3, 40, 48)


def main() -> None:
    """Compare each family."""
    checkout, sys.argv = Path(sys.argv[1]).resolve(), [sys.argv[0], "--cpu"]
    sys.path.insert(0, str(checkout))
    from comfy import options

    options.enable_args_parsing()
    from comfy import sd

    torch.manual_seed(0)
    for name, tensors, shape in families():
        vae, samples, pixels = sd.VAE(sd=tensors), torch.randn(shape), torch.rand(shape[0], 48, 67, 3)
        with torch.inference_mode():  # as nodes run
            wanted, latents = vae.decode(samples), vae.encode(pixels)
            found = comfyui.prepared(vae, samples, "array", BUDGET, "exact").array("torch")
            encoded = comfyui.encode(vae, pixels, BUDGET)
        wanted = wanted.reshape(-1, *wanted.shape[-3:])
        assert (found.shape, encoded.shape) == (wanted.shape, latents.shape)
        apart = abs(found - wanted).max(), abs(encoded - latents).max() / latents.std()
        print(f"{name}: pictures {apart[0]:.1e} apart, latents {apart[1]:.1e} deviations")
        assert wanted.std() > 0.05
        assert apart[0] <= 1e-5
        assert apart[1] <= 1e-4


if __name__ == "__main__":
    main()
