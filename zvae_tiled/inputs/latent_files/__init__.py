"""Reads and writes latents in files: safetensors, .npy and .npz, never pickles."""

from zvae_tiled.inputs.latent_files.read import read_latent_file
from zvae_tiled.inputs.latent_files.write import write_latent_file

__all__ = ["read_latent_file", "write_latent_file"]
