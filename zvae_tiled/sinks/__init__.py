"""Takes finished rows into arrays, or into files that appear whole or not at all."""

from zvae_tiled.sinks.array import ArraySink
from zvae_tiled.sinks.base import Sink
from zvae_tiled.sinks.target import Target, file_target

__all__ = ["ArraySink", "Sink", "Target", "file_target"]
