"""Where finished rows go: arrays, and files that appear whole or not at all."""

from zvae_tiled.sinks.array import ArraySink
from zvae_tiled.sinks.base import Sink
from zvae_tiled.sinks.file import file_sink

__all__ = ["ArraySink", "Sink", "file_sink"]
