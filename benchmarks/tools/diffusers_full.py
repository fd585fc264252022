"""diffusers, the picture in one piece."""

from __future__ import annotations

from benchmarks.case import Case, Files, Sample
from benchmarks.tools.torch_vae import measure_with, whole


def measure(case: Case, files: Files) -> Sample:
    """Decode some times."""
    return measure_with(case, files, whole)
