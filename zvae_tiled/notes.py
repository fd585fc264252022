"""What a picture's file says of how it was made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from zvae_tiled._version import __version__
from zvae_tiled.config import PRESETS, VAEConfig
from zvae_tiled.plan.plan import Plan
from zvae_tiled.plan.quality import QualityPlan


def notes_of(plan: Plan | QualityPlan) -> dict[str, str]:
    """Return the program, the plan's digest, the quality and the VAE, by the names they have in files."""
    if isinstance(plan, Plan):
        quality = "exact"
    else:
        quality = f"{plan.request.quality}, {'exact' if plan.exact else 'not exact'}: {plan.statistics_source}"
    return {
        "Software": f"zvae_tiled {__version__}",
        "zvae_plan": plan.digest,
        "zvae_quality": quality,
        "zvae_vae": vae_name(plan.config),
    }


def vae_name(config: VAEConfig) -> str:
    """Return the presets a config is that of, or a digest that tells it from others."""
    names = [name for name, preset in PRESETS.items() if preset == config]
    text = json.dumps(asdict(config), sort_keys=True)
    return "/".join(names) or f"AutoencoderKL {hashlib.sha256(text.encode()).hexdigest()[:12]}"
