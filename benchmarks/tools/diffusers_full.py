"""diffusers' full decode. Option ``compile``: use torch.compile."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.case import Case, Files, Sample
from benchmarks.tools.torch_vae import Decode, measure_with, whole


def measure(case: Case, files: Files) -> Sample:
    """Decode."""
    return measure_with(case, files, compiled if case.options.get("compile") else whole)


def compiled(model: Any) -> Decode:
    """Compile the decode, at its first call, for the size of that call."""
    decode: Decode = torch.compile(whole(model), dynamic=False)
    return decode
