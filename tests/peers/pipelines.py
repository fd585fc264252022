"""Small pipelines of diffusers with random weights. They take embeddings in place of a prompt."""

from __future__ import annotations

from typing import Any

import diffusers
import torch

from tests.peers.diffusers_model import random_diffusers_vae
from tests.support.models import FLUX2, narrow

SIDE = 64


def noise(*shape: int, seed: int = 1) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _flow() -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler()


def flux(kind: str = "FluxPipeline") -> tuple[Any, dict[str, Any]]:
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    )
    names = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    vae = random_diffusers_vae(narrow("flux1"))
    pipe = getattr(diffusers, kind)(scheduler=_flow(), vae=vae, transformer=transformer, **names)
    return pipe, {"prompt_embeds": noise(1, 8, 32), "pooled_prompt_embeds": noise(1, 32)}


def flux2() -> tuple[Any, dict[str, Any]]:
    keys = ("latent_channels", "block_out_channels", "norm_num_groups", "batch_norm_eps")
    vae = diffusers.AutoencoderKLFlux2(
        **{key: getattr(FLUX2, key) for key in keys},
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    )
    channels = 4 * FLUX2.latent_channels
    vae.bn.running_mean.copy_(noise(channels))
    vae.bn.running_var.copy_(noise(channels).abs() + 0.5)
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=channels,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
    )
    pipe = diffusers.Flux2Pipeline(
        scheduler=_flow(), vae=vae.eval(), transformer=transformer, text_encoder=None, tokenizer=None
    )
    return pipe, {"prompt_embeds": noise(1, 8, 32)}


def z_image() -> tuple[Any, dict[str, Any]]:
    transformer = diffusers.ZImageTransformer2DModel(
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=32,
        axes_dims=[4, 6, 6],
        axes_lens=[256, 32, 32],
    )
    vae = random_diffusers_vae(narrow("z-image"))
    pipe = diffusers.ZImagePipeline(
        scheduler=_flow(), vae=vae, transformer=transformer, text_encoder=None, tokenizer=None
    )
    return pipe, {"prompt_embeds": [noise(8, 32)], "guidance_scale": 0.0}


def stable_diffusion_3() -> tuple[Any, dict[str, Any]]:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        out_channels=16,
    )
    names = dict.fromkeys(f"{part}{end}" for part in ("text_encoder", "tokenizer") for end in ("", "_2", "_3"))
    vae = random_diffusers_vae(narrow("sd3"))
    pipe = diffusers.StableDiffusion3Pipeline(scheduler=_flow(), vae=vae, transformer=transformer, **names)
    embeds = {"prompt_embeds": noise(1, 8, 32), "pooled_prompt_embeds": noise(1, 64)}
    return pipe, {**embeds, "guidance_scale": 0.0}


def sdxl(kind: str = "StableDiffusionXLPipeline") -> tuple[Any, dict[str, Any]]:
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=80,
        cross_attention_dim=64,
    )
    names = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    vae = random_diffusers_vae(narrow("sdxl"))
    pipe = getattr(diffusers, kind)(scheduler=diffusers.EulerDiscreteScheduler(), vae=vae, unet=unet, **names)
    embeds = {"prompt_embeds": noise(1, 8, 64), "pooled_prompt_embeds": noise(1, 32)}
    return pipe, {**embeds, "guidance_scale": 1.0}


def qwen_image() -> tuple[Any, dict[str, Any]]:
    vae = diffusers.AutoencoderKLQwenImage(base_dim=8, z_dim=16, dim_mult=[1, 2, 2, 2], num_res_blocks=1)
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=64,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 6, 6),
    )
    pipe = diffusers.QwenImagePipeline(
        scheduler=_flow(), vae=vae.eval(), transformer=transformer, text_encoder=None, tokenizer=None
    )
    mask = torch.ones(1, 8, dtype=torch.long)
    return pipe, {"prompt_embeds": noise(1, 8, 32), "prompt_embeds_mask": mask, "true_cfg_scale": 1.0}


def sana() -> tuple[Any, dict[str, Any]]:
    shape = {
        "block_types": ("ResBlock", "EfficientViTBlock"),
        "block_out_channels": (16, 32),
        "layers_per_block": (1, 1),
        "qkv_multiscales": ((), (5,)),
    }
    vae = diffusers.AutoencoderDC(
        latent_channels=8,
        attention_head_dim=8,
        upsample_block_type="interpolate",
        downsample_block_type="Conv",
        scaling_factor=0.41407,
        **{f"{half}_{name}": value for half in ("encoder", "decoder") for name, value in shape.items()},
    )
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=8,
        out_channels=8,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        cross_attention_head_dim=8,
        num_cross_attention_heads=4,
        cross_attention_dim=32,
        caption_channels=32,
    )
    pipe = diffusers.SanaPipeline(
        scheduler=_flow(), vae=vae.eval(), transformer=transformer, text_encoder=None, tokenizer=None
    )
    mask = torch.ones(1, 8, dtype=torch.long)
    embeds = {"prompt_embeds": noise(1, 8, 32), "prompt_attention_mask": mask}
    return pipe, {**embeds, "guidance_scale": 1.0, "use_resolution_binning": False}


PIPELINES = {
    "FLUX": flux,
    "FLUX.2": flux2,
    "Z-Image": z_image,
    "SD 3": stable_diffusion_3,
    "SDXL": sdxl,
    "Qwen-Image": qwen_image,
    "SANA": sana,
}


def picture(pipe: Any, arguments: dict[str, Any], output_type: str, **more: Any) -> Any:
    """Run two steps of a pipeline from the same noise."""
    pipe.set_progress_bar_config(disable=True)
    size = {} if "image" in more else {"height": SIDE, "width": SIDE}
    generator = torch.Generator().manual_seed(0)
    options = {"num_inference_steps": 2, "generator": generator, "output_type": output_type}
    return pipe(**{**size, **options, **arguments, **more}).images
