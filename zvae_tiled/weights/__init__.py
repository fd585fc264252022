"""Weights from safetensors files: found, checked before anything is read, renamed, laid out and converted."""
