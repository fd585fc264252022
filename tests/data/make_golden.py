"""Make the golden values: what diffusers computes, in float64, for a narrow model of each preset.

Run where torch and diffusers are installed: ``python -m tests.data.make_golden``. For each preset it writes
``<preset>/`` (config and weights as diffusers saves them) and ``golden_<preset>.safetensors`` (inputs, and
outputs rounded to float32). For Z-Image at full width it writes the golden values, but not the weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from safetensors.torch import save_file

from tests.data import FULL_SIZES, SIZES
from tests.peers.diffusers_model import random_diffusers_vae, unscaled
from tests.support.models import PRESETS, narrow, random_latents
from zvae_tiled.families.autoencoder_kl import PRESETS as PUBLISHED
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig

HERE = Path(__file__).parent


def main() -> None:
    """Write the folder and the file of every narrow preset, and the file of Z-Image at full width."""
    for preset in PRESETS:
        config = narrow(preset)
        model = random_diffusers_vae(config, seed=PRESETS.index(preset))
        model.save_pretrained(HERE / preset)
        write(HERE / f"golden_{preset}.safetensors", model, config, SIZES)
    # Its 335 MB of weights are made again from the seed where they are needed.
    full = PUBLISHED["z-image"]
    write(HERE / "golden_full_z-image.safetensors", random_diffusers_vae(full), full, FULL_SIZES)


def write(path: Path, model: Any, config: AutoencoderKLConfig, sizes: Iterable[tuple[int, int, int]]) -> None:
    """Write latents and images of these sizes, and what they decode and encode to."""
    model = model.double()
    tensors: dict[str, Any] = {}
    for batch, height, width in sizes:
        case = f"{batch}x{height}x{width}"
        latents = torch.from_numpy(random_latents(config, height, width, batch))
        shape = (batch, 3, height * config.scale, width * config.scale)
        images = torch.from_numpy(np.random.default_rng(1).random(shape, dtype=np.float32))
        with torch.no_grad():
            decoded = model.decode(unscaled(latents.double(), config)).sample
            posterior = model.encode(images.double() * 2 - 1).latent_dist
        tensors |= {f"latents.{case}": latents, f"decoded.{case}": decoded.float(), f"images.{case}": images}
        tensors |= {f"mean.{case}": posterior.mean.float(), f"logvar.{case}": posterior.logvar.float()}
    versions = {"diffusers": diffusers.__version__, "torch": torch.__version__}
    save_file({name: values.contiguous() for name, values in tensors.items()}, path, versions)


if __name__ == "__main__":
    main()
