"""Loads weights from safetensors files: finds them, checks them before reading, renames and converts them."""
