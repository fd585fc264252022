"""Make the golden values of families beyond AutoencoderKL: what diffusers computes, in float64, for narrow models.

Run where torch and diffusers are installed: ``python -m tests.data.make_golden_kin``. Weights are saved in float16, and
the values are those of the same numbers. Levels are few, so that pictures are small.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from safetensors.torch import save_file

from tests.data import KIN_SIZES
from tests.data.make_golden_qwen import decoded, encoded
from zvae_tiled.families import config_of

HERE = Path(__file__).parent
TYPES = ("ResBlock", "EfficientViTBlock", "EfficientViTBlock")
SANA: dict[str, Any] = {
    "latent_channels": 8,
    "attention_head_dim": 8,
    "upsample_block_type": "interpolate",
    "downsample_block_type": "Conv",
    "scaling_factor": 0.41407,
}
for half, layers in (("encoder", (1, 1, 1)), ("decoder", (1, 2, 1))):
    SANA |= {f"{half}_block_types": TYPES, f"{half}_block_out_channels": (16, 32, 32)}
    SANA |= {f"{half}_layers_per_block": layers, f"{half}_qkv_multiscales": ((), (), (5,))}
RESIDUAL = {"base_dim": 4, "decoder_base_dim": 6}


def statistics(preset: str) -> dict[str, Any]:
    """Return the fields of a preset that say how its latents are scaled."""
    latents = config_of(preset).latents
    return {"z_dim": latents.channels, "latents_mean": list(latents.mean), "latents_std": list(latents.std)}


KIN: dict[str, tuple[str, dict[str, Any]]] = {
    "sana": ("AutoencoderDC", SANA),
    "hunyuan-image-2.1": (
        "AutoencoderKLHunyuanImage",
        {
            "in_channels": 3,
            "out_channels": 3,
            "latent_channels": 8,
            "block_out_channels": (32, 32),
            "layers_per_block": 1,
            "spatial_compression_ratio": 2,
            "sample_size": 64,
            "scaling_factor": 0.75289,
        },
    ),
    "qwen-image-2.1": (
        "AutoencoderKLQwenImage21",
        {
            **RESIDUAL,
            **statistics("qwen-image-2.1"),
            "dim_mult": [1, 2, 2],
            "temperal_downsample": [False, True],
            "scale_factor_spatial": 4,
        },
    ),
    "wan2.2": (
        "AutoencoderKLWan",
        {
            **RESIDUAL,
            **statistics("wan2.2"),
            "dim_mult": [1, 2, 2],
            "temperal_downsample": [False, True],
            "is_residual": True,
            "patch_size": 2,
            "in_channels": 12,
            "out_channels": 12,
            "scale_factor_spatial": 8,
        },
    ),
}
"""The class and the fields of each narrow model. The others are those of the published config."""


def random_model(name: str, fields: dict[str, Any], seed: int) -> Any:
    """Return a random model of diffusers, whose weights are numbers of float16."""
    model = getattr(diffusers, name)(**fields)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, values in model.named_parameters():
            noise = torch.randn(values.shape, generator=generator)
            if path.endswith("bias"):
                noise *= 0.1
            elif path.endswith("gamma") or values.ndim == 1:
                noise = 1 + 0.2 * noise
            else:
                noise *= values[0].numel() ** -0.5
            values.copy_(noise.half().float())
    return model.eval()


def pictures_of(model: Any, latents: torch.Tensor) -> torch.Tensor:
    """Decode a pipeline's latents."""
    if hasattr(model.config, "latents_mean"):
        return decoded(model, latents)
    found: torch.Tensor = model.decode(latents / model.config.scaling_factor).sample
    return found


def latents_of(model: Any, images: torch.Tensor) -> torch.Tensor:
    """Encode pictures in [0, 1] into a pipeline's latents. SANA's encoder gives no distribution."""
    if hasattr(model.config, "latents_mean"):
        return encoded(model, images)
    result = model.encode(images * 2 - 1)
    found: torch.Tensor = result.latent if hasattr(result, "latent") else result.latent_dist.mode()
    return found * model.config.scaling_factor


def main() -> None:
    """Write config and weights as diffusers saves them, inputs, and what they decode and encode to."""
    for number, (preset, (name, fields)) in enumerate(KIN.items()):
        model = random_model(name, fields, seed=10 + number)
        model.half().save_pretrained(HERE / preset)
        model, published = model.double(), config_of(preset)
        channels, scale = fields.get("latent_channels") or fields["z_dim"], scale_of(fields)
        tensors: dict[str, Any] = {}
        for batch, height, width in KIN_SIZES:
            case, rng = f"{batch}x{height}x{width}", np.random.default_rng(7)
            latents = torch.from_numpy(rng.standard_normal((batch, channels, height, width), np.float32))
            shape = (batch, published.image_channels, height * scale, width * scale)
            images = torch.from_numpy(rng.random(shape, np.float32))
            with torch.no_grad():
                tensors |= {f"latents.{case}": latents, f"decoded.{case}": pictures_of(model, latents.double()).float()}
                tensors |= {f"images.{case}": images, f"mean.{case}": latents_of(model, images.double()).float()}
        versions = {"diffusers": diffusers.__version__, "torch": torch.__version__}
        path = HERE / f"golden_{preset}.safetensors"
        save_file({name: values.contiguous() for name, values in tensors.items()}, path, versions)


def scale_of(fields: dict[str, Any]) -> int:
    """Return how many pixels a latent has in each direction."""
    levels = fields.get("decoder_block_out_channels") or fields.get("block_out_channels") or fields["dim_mult"]
    return int(2 ** (len(levels) - 1) * fields.get("patch_size", 1))


if __name__ == "__main__":
    main()
