"""Golden values from diffusers, and the sizes they were made at."""

from pathlib import Path

SIZES = ((1, 5, 9), (2, 17, 3), (1, 1, 1))
"""Batch, height and width of the latents: odd, long, and the smallest there is."""

FULL_SIZES = ((1, 3, 5),)
"""The same for the model at full width: 335 MB of weights."""

KIN_SIZES = (*SIZES[:2], (1, 1, 2))
"""The same for families beyond AutoencoderKL: torch normalises no group that has one value."""

MFLUX_NAMES = Path(__file__).parent / "mflux_names.json"
"""The tensors of a snapshot of each VAE class of mflux."""
