"""Takes finished rows into arrays, or into files that appear whole or not at all."""

from zvae_tiled.sinks.array import ArraySink
from zvae_tiled.sinks.base import Sink
from zvae_tiled.sinks.target import Target, file_target
from zvae_tiled.sinks.targets import Place, Targets, targets_of

__all__ = ["ArraySink", "Place", "Sink", "Target", "Targets", "file_target", "targets_of"]
