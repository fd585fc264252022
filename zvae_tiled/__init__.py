"""Decode VAE latents of any size exactly as a full decode would, inside the memory you name."""

from __future__ import annotations

import logging as _logging
from contextlib import suppress as _suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import zvae_tiled.system  # noqa: F401, first: it refuses Windows
from zvae_tiled._version import __version__
from zvae_tiled.api import decode_tiled, plan, read_plan, set_default_vae
from zvae_tiled.devices.blas import preload as _preload
from zvae_tiled.errors import BlasError as _BlasError
from zvae_tiled.errors import BudgetError, ZvaeError
from zvae_tiled.families import VAEConfig, config_of
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Exact, Stream, Tiles
from zvae_tiled.planner.sampled import Sampled
from zvae_tiled.planner.video import VideoPlan

if TYPE_CHECKING:
    from zvae_tiled.inputs.latent_files import read_latent_file, write_latent_file
    from zvae_tiled.inputs.latent_space import LatentDistribution
    from zvae_tiled.inputs.latents import Latents
    from zvae_tiled.jobs.decode import Decode
    from zvae_tiled.jobs.limits import calibrate
    from zvae_tiled.jobs.preview import Preview
    from zvae_tiled.jobs.video import Video
    from zvae_tiled.report.progress import Progress
    from zvae_tiled.report.report import Report
    from zvae_tiled.report.video import VideoReport
    from zvae_tiled.vae import VAE

with _suppress(_BlasError):  # raised when something is loaded or computed: the command line starts, and says it
    _preload()  # before anything imports mlx.core: see blas.py

_logging.getLogger("zvae_tiled").addHandler(_logging.NullHandler())  # quiet, until a program listens

_LATER = {
    "Decode": "zvae_tiled.jobs.decode",
    "LatentDistribution": "zvae_tiled.inputs.latent_space",
    "Latents": "zvae_tiled.inputs.latents",
    "Preview": "zvae_tiled.jobs.preview",
    "Progress": "zvae_tiled.report.progress",
    "Report": "zvae_tiled.report.report",
    "calibrate": "zvae_tiled.jobs.limits",
    "read_latent_file": "zvae_tiled.inputs.latent_files",
    "write_latent_file": "zvae_tiled.inputs.latent_files",
    "VAE": "zvae_tiled.vae",
    "Video": "zvae_tiled.jobs.video",
    "VideoReport": "zvae_tiled.report.video",
}
"""Names whose modules import MLX: planning needs no device, and should not wait for one."""

__all__ = [
    "VAE",
    "BudgetError",
    "Decode",
    "Exact",
    "LatentDistribution",
    "Latents",
    "Plan",
    "Preview",
    "Progress",
    "Report",
    "Sampled",
    "Stream",
    "Tiles",
    "VAEConfig",
    "Video",
    "VideoPlan",
    "VideoReport",
    "ZvaeError",
    "__version__",
    "calibrate",
    "config_of",
    "decode_tiled",
    "plan",
    "read_latent_file",
    "read_plan",
    "set_default_vae",
    "write_latent_file",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'zvae_tiled' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, those too that are imported when they are first used."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
