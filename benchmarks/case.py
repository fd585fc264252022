"""`Case`: what one child process measures. `Sample`: what it returns."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from zvae_tiled.families import VAEConfig, config_of
from zvae_tiled.families.autoencoder_kl import PRESETS, AutoencoderKLConfig

Z_IMAGE = PRESETS["z-image"]
"""The VAE of nearly every case."""

BUDGETS = ("ample", "half", "middle", "least")
"""In this order: keep everything, half of that, the mean of `ample` and `least`, the smallest that works."""


@dataclass(frozen=True)
class Case:
    """One measurement in a child process.

    Attributes:
        suite: The suite of the case.
        tool: A module of `benchmarks.tools`.
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
        dtype: Type of the weights.
        family: A preset.
        widths: Channels of an AutoencoderKL's levels. Default: the published ones.
        batch: Pictures in the batch.
        budget: One of `BUDGETS`, or a budget for `VAE.decode`.
        options: Further options of the tool.
        rounds: Number of children. The cases of a group take turns.
        label: The tool's name in tables.
        kernels: Value of ``ZVAE_KERNELS``. Default: the machine's own kernels.
        resumed: Whether a decode that was stopped goes on, from a work folder. Only `ours_file` can.
    """

    suite: str
    tool: str
    height: int
    width: int
    dtype: str = "bfloat16"
    family: str = "z-image"
    widths: tuple[int, ...] = ()
    batch: int = 1
    budget: str = "ample"
    options: dict[str, Any] = field(default_factory=dict)
    rounds: int = 1
    label: str = "zvae_tiled"
    kernels: str = ""
    resumed: bool = False

    @property
    def config(self) -> VAEConfig:
        """The config of the VAE."""
        preset = config_of(self.family)
        if not self.widths:
            return preset
        assert isinstance(preset, AutoencoderKLConfig)
        return replace(preset, block_out_channels=self.widths, norm_num_groups=min(32, self.widths[0]))

    @property
    def model(self) -> str:
        """The VAE in a few words."""
        return self.family + (f" {'-'.join(map(str, self.widths))}" if self.widths else "")

    @property
    def quality(self) -> str:
        """The quality with its options, in a few words."""
        rest = [f"{name} {value}" for name, value in self.options.items() if name != "quality"]
        return ", ".join([str(self.options.get("quality", "exact")), *rest])

    @property
    def name(self) -> str:
        """The unique name of the case in its suite."""
        size = f"{self.width}x{self.height}" + (f" x{self.batch}" if self.batch > 1 else "")
        path = f", {self.kernels}" if self.kernels else ""
        return f"{self.label}: {self.model}, {size}, {self.dtype}, {self.budget}, {self.quality}{path}"

    @property
    def digest(self) -> str:
        """The name of its files in a folder that is kept."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return the case as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Case:
        """Return the case from its JSON."""
        values = json.loads(text)
        return cls(**{**values, "widths": tuple(values["widths"])})


@dataclass(frozen=True)
class Files:
    """The files of a child: weights and latents to read, the picture to write, and the work folder to go on in.

    None means random weights, random latents, no picture, or no work folder.
    """

    model: str | None = None
    latents: str | None = None
    picture: str | None = None
    work: str | None = None


@dataclass
class Sample:
    """The figures that a child returns, with the fields of `zvae_tiled.report.figures.Row`."""

    seconds: float | None = None
    footprint: int | None = None
    allocator_peak: int | None = None
    predicted_peak: int | None = None
    budget: int | None = None
    plan: str | None = None
    flops: float | None = None
    disk: int | None = None
    seams: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    outcome: str = "ok"
    note: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
