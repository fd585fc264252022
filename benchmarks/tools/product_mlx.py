"""The speed of MLX's matrix product, with the same BLAS as decodes."""

from __future__ import annotations

from benchmarks.case import Case, Files, Sample
from zvae_tiled.report.figures import PRODUCT, product_flops
from zvae_tiled.weights.vae import DTYPES


def measure(case: Case, files: Files) -> Sample:
    """Multiply several times, and return the best time."""
    del files
    work = 2.0 * PRODUCT**3
    return Sample(seconds=work / product_flops(DTYPES[case.dtype]), flops=work)
