"""Make FLUX.2's golden values: what diffusers computes, in float64, for a narrow model.

Run where torch and diffusers are installed: ``python -m tests.data.make_golden_flux2``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from safetensors.torch import save_file

from tests.data import SIZES
from tests.support.models import FLUX2, random_tensors, torch_shapes
from zvae_tiled.families.flux2 import Flux2Config

HERE = Path(__file__).parent


def random_flux2(config: Flux2Config, seed: int = 0) -> Any:
    """Return diffusers' AutoencoderKLFlux2 with the weights of `tests.support.models.random_vae`."""
    fields = {name: getattr(config, name) for name in CONSTRUCTOR}
    model = diffusers.AutoencoderKLFlux2(**fields)
    tensors = random_tensors(torch_shapes(config), seed)
    count = {"bn.num_batches_tracked": torch.tensor(0)}
    model.load_state_dict({name: torch.from_numpy(values) for name, values in tensors.items()} | count)
    return model.eval()


CONSTRUCTOR = (
    "block_out_channels",
    "decoder_block_out_channels",
    "layers_per_block",
    "latent_channels",
    "norm_num_groups",
    "batch_norm_eps",
)


def decoded(model: Any, packed: torch.Tensor) -> torch.Tensor:
    """Decode a pipeline's packed map, as Flux2Pipeline does behind its last step."""
    mean, deviation = statistics(model)
    latents = torch.nn.functional.pixel_shuffle(packed * deviation + mean, 2)
    found: torch.Tensor = model.decode(latents).sample
    return found


def encoded(model: Any, images: torch.Tensor) -> torch.Tensor:
    """Encode pictures in [0, 1] into a packed map, as Flux2Pipeline does with images to edit."""
    mean, deviation = statistics(model)
    latents = model.encode(images * 2 - 1).latent_dist.mode()
    found: torch.Tensor = (torch.nn.functional.pixel_unshuffle(latents, 2) - mean) / deviation
    return found


def statistics(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and deviation of every channel of the packed map."""
    variance = model.bn.running_var.view(1, -1, 1, 1) + model.config.batch_norm_eps
    return model.bn.running_mean.view(1, -1, 1, 1), torch.sqrt(variance)


def main() -> None:
    """Write config and weights as diffusers saves them, inputs, and what they decode and encode to."""
    model = random_flux2(FLUX2, seed=9)
    model.save_pretrained(HERE / "flux2")
    model = model.double()
    tensors: dict[str, Any] = {}
    for batch, height, width in SIZES:
        case, rng = f"{batch}x{height}x{width}", np.random.default_rng(2)
        packed = torch.from_numpy(rng.standard_normal((batch, FLUX2.latents.channels, height, width), np.float32))
        images = torch.from_numpy(rng.random((batch, 3, height * FLUX2.cell, width * FLUX2.cell), np.float32))
        with torch.no_grad():
            tensors |= {f"latents.{case}": packed, f"decoded.{case}": decoded(model, packed.double()).float()}
            tensors |= {f"images.{case}": images, f"mean.{case}": encoded(model, images.double()).float()}
    versions = {"diffusers": diffusers.__version__, "torch": torch.__version__}
    path = HERE / "golden_flux2.safetensors"
    save_file({name: values.contiguous() for name, values in tensors.items()}, path, versions)


if __name__ == "__main__":
    main()
