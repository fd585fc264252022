"""Notes in a picture's file: the program, kernels, quality and VAE that made it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from zvae_tiled._version import __version__
from zvae_tiled.families import VAEConfig, preset_names
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.plan import Plan


def notes_of(plan: Plan) -> dict[str, str]:
    """Return what the pixels depend on: program, kernels, quality and VAE, by their names in files.

    Budget and plan are not among them, so that every budget writes the same file.
    """
    quality = plan.quality.name
    if quality != "exact":
        quality += f", {'exact' if plan.exact else 'not exact'}: {plan.statistics}"
    return case_notes(plan.case, quality)


def case_notes(case: Case, quality: str) -> dict[str, str]:
    """Return the notes of a decode of this quality."""
    return {
        "Software": f"zvae_tiled {__version__}",
        "zvae_kernels": f"{case.device} {case.dtype}",
        "zvae_quality": quality,
        "zvae_vae": vae_name(case.config),
    }


def vae_name(config: VAEConfig) -> str:
    """Return the names of the presets with this config, or its class and a digest if there are none."""
    text = json.dumps(asdict(config), sort_keys=True)
    return "/".join(preset_names(config)) or f"{config.class_name} {hashlib.sha256(text.encode()).hexdigest()[:12]}"
