"""AutoencoderKLWan: Wan 2.1's is Qwen-Image's network, and Wan 2.2's the residual one, for one frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from zvae_tiled.chain import Chain, Segment
from zvae_tiled.checks import shown
from zvae_tiled.errors import ConfigError
from zvae_tiled.families.base import Family, LatentConvention, Task, VAEConfig
from zvae_tiled.families.checks import check_count, check_flag, frozen
from zvae_tiled.families.qwen_image import MEAN, STD, TIME, QwenImageConfig
from zvae_tiled.families.residual import BETWEEN_FRAMES, Network

MEAN_2_2 = (
    *(-0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557),
    *(-0.1382, 0.0542, 0.2813, 0.0891, 0.157, -0.0098, 0.0375, -0.1825),
    *(-0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502),
    *(-0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.123),
    *(-0.0313, -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.052, 0.3748),
    *(0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667),
)
STD_2_2 = (
    *(0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.499, 0.4818, 0.5013),
    *(0.8158, 1.0344, 0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978),
    *(0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659),
    *(0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093),
    *(0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887),
    *(0.3971, 1.06, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744),
)


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
        in_channels: Channels that the encoder reads: the picture's, times `patch_size` twice.
        out_channels: Channels that the decoder writes: the picture's, times `patch_size` twice.
        latents_mean: Subtracted from each channel of the latents.
        latents_std: Each channel is divided by it.
        is_residual: Whether it is Wan 2.2's network, with a second skip around each block.
        patch_size: Rows, and columns, of pixels that Wan 2.2 packs into one: 2. Wan 2.1 packs none: null.
    """

    class_name: ClassVar[str] = "AutoencoderKLWan"
    harmless: ClassVar[frozenset[str]] = frozenset(
        {"dropout", "scale_factor_temporal", "scale_factor_spatial", "clip_output"}
    )
    unused: ClassVar[tuple[str, ...]] = (*TIME, *BETWEEN_FRAMES)
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
        for name in ("in_channels", "out_channels"):
            check_count(name, getattr(self, name))
        if self.decoder_base_dim is not None:
            check_count("decoder_base_dim", self.decoder_base_dim)
        check_flag("is_residual", self.is_residual)
        if self.patch_size is not None:
            check_count("patch_size", self.patch_size)  # 2.0 equals 2
        if self.patch_size not in (None, 2) or (self.patch_size == 2) != self.is_residual:
            raise ConfigError(f"patch_size must be 2 with is_residual, else null; it is {shown(self.patch_size)}")
        for task in ("decode", "encode"):
            self._plain(task)
            if self.is_residual:
                self._residual(task).check(task)

    @property
    def image_channels(self) -> int:
        """Channels of the picture that is encoded."""
        return self.in_channels // (self.patch_size or 1) ** 2

    @property
    def picture_channels(self) -> int:
        """Channels of the picture that is decoded."""
        return self.out_channels // (self.patch_size or 1) ** 2

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        return self.z_dim

    @property
    def scale(self) -> int:
        """Picture pixels for one latent pixel, in each direction."""
        return self._plain("encode").scale * (self.patch_size or 1)

    @property
    def latents(self) -> LatentConvention:
        """A mean and a deviation for each channel."""
        convention = self._plain("encode").latents
        return replace(convention, token=1) if self.is_residual else convention

    def chain(self, task: Task) -> Chain:
        """Return the Chain of the decoder, or of the encoder."""
        return self._residual(task).chain(task) if self.is_residual else self._plain(task).chain(task)

    def video(self) -> tuple[Segment, ...]:
        """Return the decoder of a video.

        Raises:
            ConfigError: This is Wan 2.2's network, whose second skip goes around the doubling of frames.
        """
        return super().video() if self.is_residual else self._plain("decode").video()

    def _plain(self, task: Task) -> QwenImageConfig:
        """Return the AutoencoderKLQwenImage with the same decoder, or encoder, if this is Wan 2.1's."""
        decoding = task == "decode"
        return QwenImageConfig(
            base_dim=self._base(task),
            z_dim=self.z_dim,
            dim_mult=self.dim_mult,
            num_res_blocks=self.num_res_blocks,
            attn_scales=self.attn_scales,
            temperal_downsample=self.temperal_downsample,
            input_channels=self.out_channels if decoding else self.in_channels,
            latents_mean=self.latents_mean,
            latents_std=self.latents_std,
        )

    def _residual(self, task: Task) -> Network:
        """Return the residual network with the same decoder, or encoder, if this is Wan 2.2's."""
        return Network(
            base=self._base(task),
            widths=tuple(self._base(task) * multiple for multiple in self.dim_mult),
            latents=self.z_dim,
            pixels=self.out_channels if task == "decode" else self.in_channels,
            resnets=self.num_res_blocks,
            frames=self.temperal_downsample,
            patch=self.patch_size or 1,
        )

    def _base(self, task: Task) -> int:
        return self.decoder_base_dim if task == "decode" and self.decoder_base_dim is not None else self.base_dim


PRESETS: dict[str, WanConfig] = {
    "wan2.1": WanConfig(),  # Wan-AI/Wan2.1-T2V-14B-Diffusers, vae/config.json
    "wan2.2": WanConfig(  # Wan-AI/Wan2.2-TI2V-5B-Diffusers, vae/config.json
        base_dim=160,
        decoder_base_dim=256,
        z_dim=48,
        in_channels=12,
        out_channels=12,
        latents_mean=MEAN_2_2,
        latents_std=STD_2_2,
        is_residual=True,
        patch_size=2,
    ),
}

REPOSITORIES: dict[str, tuple[str, ...]] = {
    "wan2.1": ("Wan-AI/Wan2.1-T2V-14B-Diffusers", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
    "wan2.2": ("Wan-AI/Wan2.2-TI2V-5B-Diffusers",),
}
"""Models on Hugging Face that hold the VAE of each preset."""

FAMILY = Family(WanConfig, PRESETS, REPOSITORIES)
