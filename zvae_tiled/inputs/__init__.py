"""Reads and checks the caller's input: arrays, latents, pictures, and files of them."""
