"""AutoencoderKLFlux2: AutoencoderKL's network, with latents packed 2×2 and normalised by stored statistics.

FLUX.2, Ideogram 4, ERNIE-Image and FIBO 2 have VAEs of the same shapes. Nothing in the weights tells them apart: their
pipelines order packed channels, add an eps, or return latents in other ways. So each is a preset of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from zvae_tiled.chain import Chain
from zvae_tiled.checks import shown
from zvae_tiled.errors import ConfigError
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.families.base import Family, LatentConvention, Statistics, Task, VAEConfig
from zvae_tiled.families.checks import check_number, check_widths, frozen

PATCH = 2


@dataclass(frozen=True)
class Flux2Config(VAEConfig):
    """The shape of an AutoencoderKLFlux2; names and defaults are those of diffusers.

    Attributes:
        in_channels: Channels of the picture the encoder reads.
        out_channels: Channels of the picture the decoder writes.
        latent_channels: Channels of the VAE's latents; a pipeline's packed map has four times as many.
        block_out_channels: Width of each level, from the picture's resolution down to the latents'.
        decoder_block_out_channels: Widths of the decoder, if they differ.
        layers_per_block: Resnets in each level of the encoder; the decoder has one more in each.
        norm_num_groups: Groups of every GroupNorm.
        down_block_types: ``DownEncoderBlock2D`` for each level.
        up_block_types: ``UpDecoderBlock2D`` for each level.
        use_quant_conv: Whether a 1×1 convolution follows the encoder.
        use_post_quant_conv: Whether a 1×1 convolution precedes the decoder.
        mid_block_add_attention: Whether the middle block attends over the whole picture.
        force_upcast: Whether the published weights overflow in float16.
        batch_norm_eps: Added to the stored variances of the packed latents.
        patch_size: Rows and columns of latents in one pixel of the packed map.
        pipeline: Whose latents they are: ``flux2``, ``ideogram4`` or ``fibo2``. diffusers has no such key.
    """

    class_name: ClassVar[str] = "AutoencoderKLFlux2"
    harmless: ClassVar[frozenset[str]] = frozenset({"batch_norm_momentum"})
    only: ClassVar[dict[str, object]] = {"act_fn": "silu"}

    unused: ClassVar[tuple[str, ...]] = ("bn.num_batches_tracked",)

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 32
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    decoder_block_out_channels: tuple[int, ...] | None = None
    layers_per_block: int = 2
    norm_num_groups: int = 32
    down_block_types: tuple[str, ...] = ()
    up_block_types: tuple[str, ...] = ()
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True
    force_upcast: bool = True
    batch_norm_eps: float = 1e-4
    patch_size: tuple[int, int] = (PATCH, PATCH)
    pipeline: Literal["flux2", "ideogram4", "fibo2"] = "flux2"

    def __post_init__(self) -> None:
        """Refuse a config that cannot be built.

        Raises:
            ConfigError: With the field's name.
        """
        for name in ("block_out_channels", "decoder_block_out_channels", "patch_size"):
            object.__setattr__(self, name, frozen(getattr(self, name)))
        encoder = self._network("encode")
        for name in ("down_block_types", "up_block_types"):
            object.__setattr__(self, name, getattr(encoder, name))
        if self.decoder_block_out_channels is not None:
            levels = len(self.block_out_channels)
            check_widths("decoder_block_out_channels", self.decoder_block_out_channels, self.norm_num_groups, levels)
        check_number("batch_norm_eps", self.batch_norm_eps)
        if self.batch_norm_eps <= 0:
            raise ConfigError(f"batch_norm_eps must be above 0, it is {self.batch_norm_eps}")
        if self.patch_size != (PATCH, PATCH):
            raise ConfigError(f"patch_size must be {[PATCH, PATCH]}, it is {shown(self.patch_size)}")
        if self.pipeline not in ("flux2", "ideogram4", "fibo2"):
            raise ConfigError(f"pipeline must be flux2, ideogram4 or fibo2, it is {shown(self.pipeline)}")

    @property
    def scale(self) -> int:
        """Picture pixels for one of the VAE's latents, in each direction."""
        return int(2 ** (len(self.block_out_channels) - 1))

    @property
    def latents(self) -> LatentConvention:
        """A packed map, with a mean and a variance for each of its channels."""
        statistics = Statistics("bn.running_mean", "bn.running_var", self.batch_norm_eps)
        order: Literal["cyx", "yxc"] = "yxc" if self.pipeline == "ideogram4" else "cyx"
        channels, spread = PATCH**2 * self.latent_channels, self.pipeline == "fibo2"
        return LatentConvention(channels, PATCH, order, spread, token=1, statistics=statistics)

    def chain(self, task: Task) -> Chain:
        """Return the Chain of the decoder, or of the encoder: AutoencoderKL's."""
        return self._network(task).chain(task)

    def _network(self, task: Task) -> AutoencoderKLConfig:
        """Return the AutoencoderKL with the same decoder, or encoder."""
        widths = self.block_out_channels
        if task == "decode" and self.decoder_block_out_channels is not None:
            widths = self.decoder_block_out_channels
        return AutoencoderKLConfig(
            in_channels=self.in_channels,
            out_channels=self.out_channels,
            latent_channels=self.latent_channels,
            block_out_channels=widths,
            layers_per_block=self.layers_per_block,
            norm_num_groups=self.norm_num_groups,
            down_block_types=self.down_block_types,
            up_block_types=self.up_block_types,
            use_quant_conv=self.use_quant_conv,
            use_post_quant_conv=self.use_post_quant_conv,
            mid_block_add_attention=self.mid_block_add_attention,
            force_upcast=self.force_upcast,
        )


PRESETS: dict[str, Flux2Config] = {
    "flux2": Flux2Config(),  # black-forest-labs/FLUX.2-dev, vae/config.json
    # black-forest-labs/FLUX.2-small-decoder, config.json
    "flux2-small": replace(Flux2Config(), decoder_block_out_channels=(96, 192, 384, 384)),
    "ideogram4": replace(Flux2Config(), pipeline="ideogram4"),  # diffusers 0.42, pipeline_ideogram4.py
    # diffusers 0.42, pipeline_ernie_image.py: this eps, whatever the config says
    "ernie-image": replace(Flux2Config(), batch_norm_eps=1e-5),
    "fibo2": replace(Flux2Config(), pipeline="fibo2"),  # diffusers 0.42, pipeline_bria_fibo2.py
}

REPOSITORIES: dict[str, tuple[str, ...]] = {
    "flux2": (
        "black-forest-labs/FLUX.2-dev",
        "black-forest-labs/FLUX.2-klein-4B",
        "black-forest-labs/FLUX.2-klein-9B",
    ),
    "flux2-small": ("black-forest-labs/FLUX.2-small-decoder",),
}
"""Models on Hugging Face that hold the VAE of each preset."""

PIPELINES: dict[str, dict[str, Any]] = {
    "Ideogram4Pipeline": {"pipeline": "ideogram4"},
    "ErnieImagePipeline": {"batch_norm_eps": 1e-5},
    "ErnieImageModularPipeline": {"batch_norm_eps": 1e-5},
    "BriaFibo2Pipeline": {"pipeline": "fibo2"},
}
"""What pipelines of diffusers do otherwise than their VAE's config.json says."""

FAMILY = Family(Flux2Config, PRESETS, REPOSITORIES, PIPELINES)
