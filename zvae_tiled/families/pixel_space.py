"""Pixel space: models without a VAE, such as Chroma1-Radiance and PixelFlow, whose sampling ends in pixels in [-1, 1].

A Chain of no Steps: decode shifts the range to [0, 1] and clips, encode shifts it back. Nothing is learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from zvae_tiled.chain import Chain, Shape
from zvae_tiled.families.base import Family, LatentConvention, Task, VAEConfig
from zvae_tiled.families.checks import check_count


@dataclass(frozen=True)
class PixelSpaceConfig(VAEConfig):
    """The shape of pixels.

    Attributes:
        channels: Channels of the pixels, the same before and after.
    """

    class_name: ClassVar[str] = "PixelSpace"
    marks: ClassVar[dict[str, Shape]] = {"pixel_space_vae": ()}  # all that ComfyUI's file holds

    channels: int = 3

    def __post_init__(self) -> None:
        """Refuse a number of channels that no map has.

        Raises:
            ConfigError: It is refused.
        """
        check_count("channels", self.channels)

    @property
    def in_channels(self) -> int:
        """Channels of the picture that is encoded."""
        return self.channels

    @property
    def out_channels(self) -> int:
        """Channels of the picture that is decoded."""
        return self.channels

    @property
    def latent_channels(self) -> int:
        """Channels of the pixels."""
        return self.channels

    @property
    def scale(self) -> int:
        """One pixel becomes one pixel."""
        return 1

    @property
    def latents(self) -> LatentConvention:
        """Pixels are used as they are."""
        return LatentConvention(self.channels, deterministic=True)

    def chain(self, task: Task) -> Chain:
        """Return a Chain of no Steps."""
        return Chain((), carries=self.channels)


PRESETS: dict[str, PixelSpaceConfig] = {"pixel-space": PixelSpaceConfig()}

FAMILY = Family(PixelSpaceConfig, PRESETS, {})
