"""AutoencoderKLQwenImage21: Qwen-Image 2.1's network for pictures with alpha, sixteen pixels a latent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from zvae_tiled.chain import Chain
from zvae_tiled.checks import shown
from zvae_tiled.errors import ConfigError
from zvae_tiled.families.base import Family, LatentConvention, Task, VAEConfig
from zvae_tiled.families.checks import check_count, check_means, frozen
from zvae_tiled.families.qwen_image import check_levels
from zvae_tiled.families.residual import BETWEEN_FRAMES, Network

MEAN = (
    *(0.5126, 0.7721, -0.0631, 1.3506, -0.7855, -2.1025, -0.3458, 1.3722),
    *(1.8873, -1.7177, -0.651, 0.2732, 0.7562, -0.6163, -1.0277, 3.8363),
    *(2.021, 0.0472, 0.932, 2.0087, 2.4954, -0.1391, -1.4249, 1.8464),
    *(-0.5236, 1.2826, 3.7046, -1.3035, 2.7286, -1.4518, -1.9036, -1.9955),
    *(-0.0342, -1.0265, -0.7636, 3.0555, 0.0746, -3.0751, -0.1076, 1.7376),
    *(-1.0914, -1.9435, -0.2784, -1.368, 0.4809, -0.4433, 0.3764, 0.5729),
    *(-2.0595, 1.096, -1.326, -2.0211, -5.0179, 0.5275, 4.0162, 1.8505),
    *(0.3026, 1.9373, 1.4937, 0.2632, 0.5547, -1.7121, -0.1562, 0.0304),
)
STD = (
    *(3.2001, 3.2936, 3.4321, 3.0091, 3.1061, 4.0379, 4.0705, 3.791),
    *(3.0785, 3.65, 3.9308, 3.0904, 2.8778, 3.7675, 3.732, 5.0756),
    *(3.2864, 4.0397, 3.1317, 4.0443, 2.9249, 3.9454, 3.0988, 4.2489),
    *(3.4896, 3.8513, 3.9323, 3.4719, 3.7498, 4.283, 3.5694, 4.2467),
    *(3.9037, 3.2947, 5.077, 3.5075, 3.27, 3.4767, 2.8063, 5.1125),
    *(3.5327, 4.7833, 3.1286, 4.1819, 3.8527, 3.8312, 3.5605, 4.3875),
    *(3.9624, 4.0168, 3.5643, 4.055, 5.5614, 4.2963, 4.408, 3.4959),
    *(3.8747, 3.7608, 3.5735, 3.149, 3.7662, 3.6746, 3.4563, 3.8161),
)


@dataclass(frozen=True)
class QwenImage21Config(VAEConfig):
    """The shape of an AutoencoderKLQwenImage21; names and defaults are those of diffusers.

    Attributes:
        base_dim: Width of the encoder's level at the picture's resolution.
        decoder_base_dim: The decoder's, if it differs.
        z_dim: Channels of the latents.
        dim_mult: Width of each level as a multiple of `base_dim`, from the picture's resolution down.
        num_res_blocks: Resnets in each level of the encoder; the decoder has one more in each.
        attn_scales: Levels with attention; none is implemented.
        temperal_downsample: Levels that halve the number of frames. Of one frame they change the skips.
        in_channels: Channels of the picture the encoder reads: 4, with alpha.
        out_channels: Channels of the picture the decoder writes.
        latents_mean: Subtracted from each channel of the latents.
        latents_std: Each channel is divided by it.
    """

    class_name: ClassVar[str] = "AutoencoderKLQwenImage21"
    harmless: ClassVar[frozenset[str]] = frozenset({"dropout", "scale_factor_temporal", "scale_factor_spatial"})
    only: ClassVar[dict[str, object]] = {"is_residual": True, "patch_size": None}
    unused: ClassVar[tuple[str, ...]] = BETWEEN_FRAMES
    causal: ClassVar[bool] = True
    clips: ClassVar[bool] = True

    base_dim: int = 96
    decoder_base_dim: int | None = 144
    z_dim: int = 64
    dim_mult: tuple[int, ...] = (1, 2, 4, 8, 8)
    num_res_blocks: int = 2
    attn_scales: tuple[float, ...] = ()
    temperal_downsample: tuple[bool, ...] = (False, True, True, True)
    in_channels: int = 4
    out_channels: int = 4
    latents_mean: tuple[float, ...] = MEAN
    latents_std: tuple[float, ...] = STD

    def __post_init__(self) -> None:
        """Refuse a config that cannot be built.

        Raises:
            ConfigError: With the field's name.
        """
        for name in ("dim_mult", "attn_scales", "temperal_downsample", "latents_mean", "latents_std"):
            object.__setattr__(self, name, frozen(getattr(self, name)))
        for name in ("base_dim", "z_dim", "num_res_blocks", "in_channels", "out_channels"):
            check_count(name, getattr(self, name))
        if self.decoder_base_dim is not None:
            check_count("decoder_base_dim", self.decoder_base_dim)
        check_levels(self.base_dim, self.dim_mult, self.num_res_blocks, self.temperal_downsample, halved=False)
        if self.attn_scales != ():
            raise ConfigError(f"attn_scales must be [], it is {shown(self.attn_scales)}")
        check_means(self.latents_mean, self.latents_std, self.z_dim)
        for task in ("decode", "encode"):
            self._network(task).check(task)

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        return self.z_dim

    @property
    def scale(self) -> int:
        """Picture pixels for one latent pixel, in each direction."""
        return int(2 ** (len(self.dim_mult) - 1))

    @property
    def latents(self) -> LatentConvention:
        """A mean and a deviation for each channel; a token is one latent."""
        return LatentConvention(self.z_dim, token=1, mean=self.latents_mean, std=self.latents_std)

    def chain(self, task: Task) -> Chain:
        """Return the Chain of the decoder, or of the encoder."""
        return self._network(task).chain(task)

    def _network(self, task: Task) -> Network:
        decoding = task == "decode"
        base = self.decoder_base_dim if decoding and self.decoder_base_dim is not None else self.base_dim
        return Network(
            base=base,
            widths=tuple(base * multiple for multiple in self.dim_mult),
            latents=self.z_dim,
            pixels=self.out_channels if decoding else self.in_channels,
            resnets=self.num_res_blocks,
            frames=self.temperal_downsample,
        )


PRESETS: dict[str, QwenImage21Config] = {"qwen-image-2.1": QwenImage21Config()}  # the defaults of diffusers 0.42

REPOSITORIES: dict[str, tuple[str, ...]] = {"qwen-image-2.1": ("Qwen/Qwen-Image-2.1",)}
"""Models on Hugging Face that hold the VAE of each preset."""

FAMILY = Family(QwenImage21Config, PRESETS, REPOSITORIES)
