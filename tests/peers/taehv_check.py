"""Holds `taew2_1` and `taew2_2` on one picture to their author's program, at published width, with random weights.

``python -m tests.peers.taehv_check CHECKOUT``, by a Python with torch, of a checkout of madebyollin/taehv. The author's
class makes the weights, so their names are its own.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import numpy as np

from tests.support.models import random_latents
from zvae_tiled import VAE

SHAPES = {"taew2_1": (1, 16), "taew2_2": (2, 48)}
"""Size of a patch, and channels of the latents."""


def check(module: Any, preset: str) -> None:
    """Compare a decode and an encode with those of the author's class.

    Raises:
        AssertionError: They differ by more than float32 rounds.
    """
    import torch

    torch.manual_seed(0)
    patch, channels = SHAPES[preset]
    theirs = module.TAEHV(checkpoint_path=None, patch_size=patch, latent_channels=channels).eval()
    ours = VAE.from_state_dict(theirs.state_dict(), None, "float32", decoder_only=False)
    latents = 2 * random_latents(ours.config, 6, 9)
    images = np.random.default_rng(0).random((1, 4 * ours.config.cell, 3 * ours.config.cell, 3), np.float32)
    with torch.inference_mode():
        frames = theirs.decode_video(torch.from_numpy(latents)[:, None], show_progress_bar=False)
        read = torch.from_numpy(images).permute(0, 3, 1, 2)[:, None]
        encoded = theirs.encode_video(read, show_progress_bar=False)
    assert frames.shape[1] == encoded.shape[1] == 1, "one frame of latents, one frame of a video"
    want = frames[0, 0].permute(1, 2, 0).numpy()
    assert want.std() > 1e-3
    wrong = abs(ours.decode(latents, "np")[0] - want).max() / want.std()
    mean = encoded[:, 0].numpy()
    other = abs(np.asarray(ours.encode(images).mode()) - mean).max() / mean.std()
    print(f"{preset} ({ours.config.latent_channels} channels): decode {wrong:.1e}, encode {other:.1e} of a deviation")
    assert max(wrong, other) < 1e-4


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    for name in SHAPES:
        check(import_module("taehv"), name)
