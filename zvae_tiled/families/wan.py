"""AutoencoderKLWan of Wan 2.1: Qwen-Image's network, with a config of its own. One frame is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from zvae_tiled.chain import Chain
from zvae_tiled.errors import ConfigError
from zvae_tiled.families.base import Family, LatentConvention, Task, VAEConfig
from zvae_tiled.families.checks import check_count, frozen
from zvae_tiled.families.qwen_image import MEAN, STD, TIME, QwenImageConfig


@dataclass(frozen=True)
class WanConfig(VAEConfig):
    """The shape of an AutoencoderKLWan; names and defaults are those of diffusers.

    Attributes:
        base_dim: Width of the level at the picture's resolution.
        decoder_base_dim: The decoder's, if it differs.
        z_dim: Channels of the latents.
        dim_mult: Width of each level as a multiple of `base_dim`, from the picture's resolution down.
        num_res_blocks: Resnets in each level of the encoder; the decoder has one more in each.
        attn_scales: Levels with attention; none is implemented.
        temperal_downsample: Levels that halve the number of frames. One frame is not changed.
        in_channels: Channels of the picture the encoder reads.
        out_channels: Channels of the picture the decoder writes.
        latents_mean: Subtracted from each channel of the latents.
        latents_std: Each channel is divided by it.
        is_residual: Whether it is Wan 2.2's network, which is not implemented.
        patch_size: Pixels that Wan 2.2 packs into one; not implemented.
    """

    class_name: ClassVar[str] = "AutoencoderKLWan"
    harmless: ClassVar[frozenset[str]] = frozenset({"dropout", "scale_factor_temporal", "scale_factor_spatial"})
    unused: ClassVar[tuple[str, ...]] = TIME
    causal: ClassVar[bool] = True
    clips: ClassVar[bool] = True

    base_dim: int = 96
    decoder_base_dim: int | None = None
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attn_scales: tuple[float, ...] = ()
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    in_channels: int = 3
    out_channels: int = 3
    latents_mean: tuple[float, ...] = MEAN
    latents_std: tuple[float, ...] = STD
    is_residual: bool = False
    patch_size: int | None = None

    def __post_init__(self) -> None:
        """Refuse a config that cannot be built.

        Raises:
            ConfigError: With the field's name.
        """
        for name in ("dim_mult", "attn_scales", "temperal_downsample", "latents_mean", "latents_std"):
            object.__setattr__(self, name, frozen(getattr(self, name)))
        if self.is_residual is not False or self.patch_size is not None:
            raise ConfigError("is_residual must be false and patch_size null: the VAE of Wan 2.2 is not implemented")
        for name in ("in_channels", "out_channels"):
            check_count(name, getattr(self, name))
        if self.decoder_base_dim is not None:
            check_count("decoder_base_dim", self.decoder_base_dim)
        for task in ("decode", "encode"):
            self._network(task)

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        return self.z_dim

    @property
    def scale(self) -> int:
        """Picture pixels for one latent pixel, in each direction."""
        return self._network("encode").scale

    @property
    def latents(self) -> LatentConvention:
        """A mean and a deviation for each channel."""
        return self._network("encode").latents

    def chain(self, task: Task) -> Chain:
        """Return the Chain of the decoder, or of the encoder: Qwen-Image's."""
        return self._network(task).chain(task)

    def _network(self, task: Task) -> QwenImageConfig:
        """Return the AutoencoderKLQwenImage with the same decoder, or encoder."""
        decoding = task == "decode"
        return QwenImageConfig(
            base_dim=self.decoder_base_dim if decoding and self.decoder_base_dim is not None else self.base_dim,
            z_dim=self.z_dim,
            dim_mult=self.dim_mult,
            num_res_blocks=self.num_res_blocks,
            attn_scales=self.attn_scales,
            temperal_downsample=self.temperal_downsample,
            input_channels=self.out_channels if decoding else self.in_channels,
            latents_mean=self.latents_mean,
            latents_std=self.latents_std,
        )


PRESETS: dict[str, WanConfig] = {"wan2.1": WanConfig()}  # Wan-AI/Wan2.1-T2V-14B-Diffusers, vae/config.json

REPOSITORIES: dict[str, tuple[str, ...]] = {
    "wan2.1": ("Wan-AI/Wan2.1-T2V-14B-Diffusers", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers")
}
"""Models on Hugging Face that hold the VAE of each preset."""

FAMILY = Family(WanConfig, PRESETS, REPOSITORIES)
