"""`Case`: what one child process measures; and what it answers with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from zvae_tiled.families.autoencoder_kl import PRESETS, AutoencoderKLConfig

Z_IMAGE = PRESETS["z-image"]
"""The VAE of nearly every case."""

BUDGETS = ("ample", "half", "middle", "least")
"""Everything kept; half of what that takes; as small as works, and half way there."""


@dataclass(frozen=True)
class Case:
    """What one child measures.

    Attributes:
        suite: What it belongs to.
        tool: A module of `benchmarks.tools`.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        dtype: Of the weights.
        family: A preset of AutoencoderKL.
        widths: Of its levels; empty for the published ones.
        batch: Pictures.
        budget: One of `BUDGETS`, or as `VAE.decode` takes it.
        options: What else the tool is told.
        rounds: Children, in turn with those of the other cases of the group.
        label: The tool's name in tables.
        kernels: What ``ZVAE_KERNELS`` is; empty: what the machine has.
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

    @property
    def config(self) -> AutoencoderKLConfig:
        """The VAE."""
        preset = PRESETS[self.family]
        if not self.widths:
            return preset
        return replace(preset, block_out_channels=self.widths, norm_num_groups=min(32, self.widths[0]))

    @property
    def model(self) -> str:
        """The VAE in a few letters."""
        return self.family + (f" {'-'.join(map(str, self.widths))}" if self.widths else "")

    @property
    def quality(self) -> str:
        """The quality with its options, in a few words."""
        rest = [f"{name} {value}" for name, value in self.options.items() if name != "quality"]
        return ", ".join([str(self.options.get("quality", "exact")), *rest])

    @property
    def name(self) -> str:
        """What tells it from every other case of its suite."""
        size = f"{self.width}x{self.height}" + (f" x{self.batch}" if self.batch > 1 else "")
        path = f", {self.kernels}" if self.kernels else ""
        return f"{self.label}: {self.model}, {size}, {self.dtype}, {self.budget}, {self.quality}{path}"

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Case:
        """Read it back."""
        values = json.loads(text)
        return cls(**{**values, "widths": tuple(values["widths"])})


@dataclass(frozen=True)
class Files:
    """Where a child finds its input and leaves its picture; None for random weights, random latents, no picture."""

    model: str | None = None
    latents: str | None = None
    picture: str | None = None


@dataclass
class Sample:
    """What a child answers; fields as in `zvae_tiled.report.figures.Row`."""

    seconds: float | None = None
    footprint: int | None = None
    allocator_peak: int | None = None
    predicted_peak: int | None = None
    budget: int | None = None
    plan: str | None = None
    flops: float | None = None
    seams: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    outcome: str = "ok"
    note: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
