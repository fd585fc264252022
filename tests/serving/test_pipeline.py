"""The picture of a real server is that of diffusers' FluxPipeline, from the same packed latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving.client import Client
from tests.serving.models import FLUX
from tests.serving.server import Server, add_model
from tests.support.models import pack, random_latents
from tests.support.running import save_vae
from zvae_tiled import config_of
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig

pytestmark = [
    pytest.mark.serving,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def pipeline_s(config: AutoencoderKLConfig, tokens: np.ndarray, side: int) -> np.ndarray:
    """What a FluxPipeline does with packed latents when its sampling ends."""
    import torch
    from diffusers import FluxPipeline
    from diffusers.image_processor import VaeImageProcessor

    from tests.peers.diffusers_model import random_diffusers_vae

    vae: Any = random_diffusers_vae(config)
    with torch.no_grad():
        latents = FluxPipeline._unpack_latents(torch.from_numpy(tokens), side, side, 8)
        image = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0]
    found: np.ndarray = VaeImageProcessor(vae_scale_factor=16).postprocess(image, output_type="np")
    return found


@pytest.mark.parametrize("width", ["narrow", pytest.param("published", marks=pytest.mark.slow)])
def test_packed_latents_of_1024(tmp_path: Path, width: str) -> None:
    config = FLUX if width == "narrow" else config_of("flux1")
    assert isinstance(config, AutoencoderKLConfig)
    repository = tmp_path / "models"
    add_model(repository, "vae_decoder", vae=save_vae(tmp_path / "flux", config), budget="3GB")
    tokens, size = pack(random_latents(config, 128, 128)), np.array([[1024, 1024]])
    with Server(repository, tmp_path / "log") as server:
        images = Client(server, "http").ask("vae_decoder", latents=tokens, size=size)
        floats = Client(server, "grpc").ask("vae_decoder", "floats", latents=tokens, size=size)
    wanted = pipeline_s(config, tokens, 1024)
    assert wanted.std() > 0.05
    assert abs(floats.transpose(0, 2, 3, 1) - wanted).max() < 1e-5
    levels = np.round(wanted * 255).astype(np.int16)
    assert abs(images - levels).max() <= 1, "a number between two levels"
    assert (images != levels).mean() < 1e-3
