"""The speed of torch's matrix product. On a CPU with bfloat16 units, it is the limit of the machine."""

from __future__ import annotations

import time

import torch

from benchmarks.case import Case, Files, Sample

SIDE = 2048


def measure(case: Case, files: Files) -> Sample:
    """Multiply several times, and return the best time."""
    del files
    a, b = (torch.randn(SIDE, SIDE).to(getattr(torch, case.dtype)) for _ in range(2))
    times: list[float] = []
    while sum(times) < 2 or len(times) < 3:
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return Sample(seconds=min(times), flops=2.0 * SIDE**3)
