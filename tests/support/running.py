"""Running `zvae`: in this process, with a small VAE and latents at hand, and as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from tests.support.models import random_latents, save_random
from zvae_tiled import VAEConfig
from zvae_tiled.cli.app import zvae

CONFIG = AutoencoderKLConfig(latent_channels=4, block_out_channels=(8, 8), norm_num_groups=2)
"""Two levels: a decode takes a tenth of a second."""

COMMAND = [sys.executable, "-m", "zvae_tiled.cli"]

ROOT = Path(__file__).parent.parent.parent


def save_vae(folder: Path, config: VAEConfig = CONFIG) -> Path:
    """A VAE's folder as diffusers writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL", **asdict(config)}))
    save_random(config, folder / "diffusion_pytorch_model.safetensors")
    return folder


def save_latents(path: Path, height: int = 6, width: int = 10, batch: int = 1, seed: int = 0) -> Path:
    """Latents for it, as NumPy writes them."""
    np.save(path, random_latents(CONFIG, height, width, batch, seed))
    return path


def run(*words: str | Path, code: int = 0, stdin: bytes | None = None) -> Result:
    """Run a command here, and check how it ends."""
    result = CliRunner().invoke(zvae, list(map(str, words)), input=stdin)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def environment(**more: str) -> dict[str, str]:
    """The variables for a process of its own."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **more}


def process(words: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own."""
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, env=environment(), check=False, **options)
