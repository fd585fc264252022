"""Make the golden values of AutoencoderTiny: what diffusers computes, in float64, for a narrow model.

Run where torch and diffusers are installed: ``python -m tests.data.make_golden_tiny``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from safetensors.torch import save_file

from tests.data import SIZES

HERE = Path(__file__).parent
WIDTHS = (8,) * 4


def random_tiny(seed: int = 0, **fields: Any) -> Any:
    """Return a random model of diffusers, with biases that matter."""
    model = diffusers.AutoencoderTiny(encoder_block_out_channels=WIDTHS, decoder_block_out_channels=WIDTHS, **fields)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, values in model.named_parameters():
            noise = torch.randn(values.shape, generator=generator)
            values.copy_(noise * (0.2 if path.endswith("bias") else values[0].numel() ** -0.5))
    return model.eval()


def main() -> None:
    """Write config and weights as diffusers saves them, inputs, and what they decode and encode to."""
    model = random_tiny(seed=5, latent_channels=16)
    model.save_pretrained(HERE / "taef1")
    model = model.double()
    tensors: dict[str, Any] = {}
    for batch, height, width in SIZES:
        case, rng = f"{batch}x{height}x{width}", np.random.default_rng(6)
        latents = torch.from_numpy(2 * rng.standard_normal((batch, 16, height, width), np.float32))
        images = torch.from_numpy(rng.random((batch, 3, height * 8, width * 8), np.float32))
        with torch.no_grad():
            tensors |= {f"latents.{case}": latents, f"decoded.{case}": model.decode(latents.double()).sample.float()}
            encoded = model.encode(images.double() * 2 - 1).latents
            tensors |= {f"images.{case}": images, f"mean.{case}": encoded.float()}
    versions = {"diffusers": diffusers.__version__, "torch": torch.__version__}
    path = HERE / "golden_taef1.safetensors"
    save_file({name: values.contiguous() for name, values in tensors.items()}, path, versions)


if __name__ == "__main__":
    main()
