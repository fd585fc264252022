"""What a family defines: a config class, which builds its Chain and describes its latents. No MLX."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from zvae_tiled.chain import Chain, Segment, Shape
from zvae_tiled.errors import ConfigError
from zvae_tiled.families.mosaic import Mosaic

Task = Literal["decode", "encode"]


@dataclass(frozen=True)
class Statistics:
    """Names of stored means and variances, one number for every channel of the pipeline's map.

    Attributes:
        mean: The weight that holds the means.
        variance: The weight that holds the variances.
        eps: Added to the variances.
    """

    mean: str
    variance: str
    eps: float


@dataclass(frozen=True)
class LatentConvention:
    """How latents differ between a pipeline and the VAE.

    A pipeline has ``(z - shift) * scaling`` of the VAE's latents z; with means and deviations for each channel,
    ``(z - mean) / std * scaling``; or ``(z - mean) / sqrt(variance + eps)`` if the weights hold statistics.

    Attributes:
        channels: Channels of a pipeline's map, packed if `patch` is more than 1.
        patch: Rows, and columns, of the VAE's latents that one pixel of the packed map holds.
        order: Order of the packed channels: ``cyx``, channel ``patch² c + patch dy + dx`` is channel c at row dy and
            column dx; ``yxc``, it is channel ``(patch dy + dx) C + c`` of C channels.
        spread: Whether a pipeline returns the map unpacked, though it was normalised packed.
        token: Rows, and columns, of that map that one packed token holds, in the same order.
        scaling: The VAE's latents are multiplied by it.
        shift: Subtracted from the VAE's latents before that.
        mean: Subtracted from each channel of the VAE's latents, in place of one shift; empty if there are none.
        std: Each channel is divided by its deviation then; empty if there are none.
        statistics: The means and variances, if the weights hold them.
        clamp: If above 0, the decoder reads ``clamp * tanh(z / clamp)``.
        deterministic: Whether the encoder gives latents themselves, not their mean and variance.
        only_scaled: Whether latents whose scale and shift are undone cannot be decoded.
    """

    channels: int
    patch: int = 1
    order: Literal["cyx", "yxc"] = "cyx"
    spread: bool = False
    token: int = 2
    scaling: float = 1.0
    shift: float = 0.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    statistics: Statistics | None = None
    clamp: float = 0.0
    deterministic: bool = False
    only_scaled: bool = False

    @property
    def own(self) -> LatentConvention:
        """The convention of the VAE itself: not packed, without scale and shift."""
        return LatentConvention(self.channels // self.patch**2, deterministic=self.deterministic)

    @property
    def returned(self) -> tuple[int, int]:
        """Channels of the map that a pipeline returns, and how many of its pixels a side are one of the packed map."""
        return (self.channels // self.patch**2, self.patch) if self.spread else (self.channels, 1)

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shapes of the stored statistics by name."""
        if self.statistics is None:
            return {}
        return dict.fromkeys((self.statistics.mean, self.statistics.variance), (self.channels,))


@dataclass(frozen=True)
class VAEConfig(ABC):
    """The shape of a VAE, of any family; `zvae_tiled.config_of` reads one."""

    class_name: ClassVar[str]
    """What diffusers calls the class, in ``_class_name`` of a config.json."""

    harmless: ClassVar[frozenset[str]] = frozenset()
    """More keys of a config.json that a decode does not depend on."""

    only: ClassVar[dict[str, object]] = {}
    """Keys of a config.json with the only value that is implemented."""

    unused: ClassVar[tuple[str, ...]] = ()
    """Prefixes of weights that neither decode nor encode needs."""

    marks: ClassVar[dict[str, Shape]] = {}
    """Tensors that files of no other family hold, by which a file without a config is recognised."""

    causal: ClassVar[bool] = False
    """Whether 3-D convolutions are stored, of which one frame reads the last temporal slice."""

    clips: ClassVar[bool] = False
    """Whether the decoder's own values are clipped to [-1, 1]."""

    unit: ClassVar[bool] = False
    """Whether pictures lie in [0, 1] inside the network, not in [-1, 1]."""

    @property
    @abstractmethod
    def in_channels(self) -> int:
        """Channels that the encoder reads: the picture's, unless the encoder packs its pixels first."""

    @property
    @abstractmethod
    def out_channels(self) -> int:
        """Channels that the decoder writes: the picture's, unless the decoder unpacks its pixels last."""

    @property
    def image_channels(self) -> int:
        """Channels of the picture that is encoded."""
        return self.in_channels

    @property
    def picture_channels(self) -> int:
        """Channels of the picture that is decoded."""
        return self.out_channels

    @property
    @abstractmethod
    def latent_channels(self) -> int:
        """Channels of the VAE's latents."""

    @property
    @abstractmethod
    def scale(self) -> int:
        """Picture pixels for one of the VAE's latents, in each direction."""

    @property
    def cell(self) -> int:
        """Picture pixels for one pixel of a pipeline's map, in each direction."""
        return self.scale * self.latents.patch

    @property
    @abstractmethod
    def latents(self) -> LatentConvention:
        """How a pipeline's latents become this VAE's."""

    @abstractmethod
    def chain(self, task: Task) -> Chain:
        """Return the Chain of the decoder, or of the encoder."""

    def mosaics(self) -> dict[str, Mosaic]:
        """Return how weights are laid out that are not as they are stored, by the names of their Steps."""
        return {}

    def video(self) -> tuple[Segment, ...]:
        """Return the decoder of a video in its segments.

        Raises:
            ConfigError: This VAE is not of videos, or its decode of several frames is not implemented.
        """
        raise ConfigError(
            f"an {self.class_name} of this config decodes no video here",
            "Videos of Wan 2.1 and Qwen-Image are decoded. Decode one frame, as a picture.",
        )

    def different_from(self, other: VAEConfig) -> str:
        """Return the fields, with their values, in which this config differs from another."""
        if type(self) is not type(other):
            return self.class_name
        names = [field.name for field in fields(self) if getattr(self, field.name) != getattr(other, field.name)]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


@dataclass(frozen=True)
class Family:
    """Everything a file of this folder defines; `families/table.py` finds it as ``FAMILY``.

    Attributes:
        config: The class of its configs.
        presets: Published configs by their names.
        repositories: Models on Hugging Face that hold a preset's VAE, in the order of the search, or
            ``OWNER/MODEL/FILE``; a preset may have no entry.
        pipelines: What a pipeline of diffusers changes in its VAE's config, by the pipeline's class.
        lookalikes: A model without a preset whose weights have a preset's names and shapes, but other latents.
    """

    config: type[VAEConfig]
    presets: Mapping[str, VAEConfig]
    repositories: Mapping[str, tuple[str, ...]]
    pipelines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    lookalikes: Mapping[str, str] = field(default_factory=dict)
