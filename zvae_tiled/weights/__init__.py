"""Weights from safetensors files: found, checked before anything is read, renamed, laid out and converted."""

from __future__ import annotations

from zvae_tiled.weights.find import Checkpoint, find_checkpoint
from zvae_tiled.weights.load import load_weights

__all__ = ["Checkpoint", "find_checkpoint", "load_weights"]
