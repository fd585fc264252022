"""Make the golden values of Qwen-Image: what diffusers computes on one frame, in float64, for a narrow model.

Run where torch and diffusers are installed: ``python -m tests.data.make_golden_qwen``. The weights are 3-D convolutions
and fused projections, as diffusers saves them, in float16.
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
BASE = 4
"""Width of the level at the picture's resolution; all other fields are those of the published config."""


def random_qwen(name: str = "AutoencoderKLQwenImage", seed: int = 0, **fields: Any) -> Any:
    """Return a random model of diffusers, whose weights are numbers of float16."""
    model = getattr(diffusers, name)(base_dim=BASE, **fields)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, values in model.named_parameters():
            noise = torch.randn(values.shape, generator=generator)
            if path.endswith("gamma"):
                noise = 1 + 0.2 * noise
            else:
                noise *= 0.1 if path.endswith("bias") else values[0].numel() ** -0.5
            values.copy_(noise.half().float())
    return model.eval()


def decoded(model: Any, latents: torch.Tensor) -> torch.Tensor:
    """Decode a pipeline's latents of one frame, (B, C, h, w), as QwenImagePipeline does."""
    mean, std = statistics(model, latents)
    found: torch.Tensor = model.decode((latents * std + mean)[:, :, None]).sample
    return found[:, :, 0]


def encoded(model: Any, images: torch.Tensor) -> torch.Tensor:
    """Encode pictures in [0, 1] into a pipeline's latents, as QwenImageEditPipeline does."""
    found = model.encode((images * 2 - 1)[:, :, None]).latent_dist.mode()[:, :, 0]
    mean, std = statistics(model, found)
    result: torch.Tensor = (found - mean) / std
    return result


def statistics(model: Any, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and deviation of every channel of the latents."""
    mean, std = (torch.tensor(values) for values in (model.config.latents_mean, model.config.latents_std))
    return mean[:, None, None].to(like), std[:, None, None].to(like)


def main() -> None:
    """Write config and weights as diffusers saves them, inputs, and what they decode and encode to."""
    model = random_qwen(seed=3)
    model.half().save_pretrained(HERE / "qwen-image")
    model = model.double()
    tensors: dict[str, Any] = {}
    for batch, height, width in SIZES:
        case, rng = f"{batch}x{height}x{width}", np.random.default_rng(4)
        latents = torch.from_numpy(rng.standard_normal((batch, 16, height, width), np.float32))
        images = torch.from_numpy(rng.random((batch, 3, height * 8, width * 8), np.float32))
        with torch.no_grad():
            tensors |= {f"latents.{case}": latents, f"decoded.{case}": decoded(model, latents.double()).float()}
            tensors |= {f"images.{case}": images, f"mean.{case}": encoded(model, images.double()).float()}
    versions = {"diffusers": diffusers.__version__, "torch": torch.__version__}
    save_file(
        {name: each.contiguous() for name, each in tensors.items()}, HERE / "golden_qwen-image.safetensors", versions
    )


if __name__ == "__main__":
    main()
