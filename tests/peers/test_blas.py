"""Torch and MLX in one process, each with its own BLAS, both stay right."""

from __future__ import annotations

import pytest

from tests.support.blas import CONV, REPORT, answers, linux

TORCH = """
import json
import torch
import torch.nn.functional as F
torch.manual_seed(0)
x, w = torch.randn(1, 64, 20, 33), torch.randn(48, 64, 3, 3)
far = {"conv": F.conv2d(x, w) - F.conv2d(x.double(), w.double())}
for kind in (torch.complex64, torch.complex128, torch.float32):
    a, b = torch.randn(500, dtype=kind), torch.randn(500, dtype=kind)
    m = torch.randn(40, 40, dtype=kind)
    u, s, v = torch.linalg.svd(m)
    far[f"vdot {kind}"] = torch.vdot(a, b) - (a.conj() * b).sum()
    far[f"product {kind}"] = m @ m - (m[:, :, None] * m[None]).sum(1)
    far[f"svd {kind}"] = (u * s.to(kind)) @ v - m
    far[f"fft {kind}"] = torch.fft.ifft(torch.fft.fft(m)) - m
print(json.dumps({name: float(difference.abs().max()) for name, difference in far.items()}))
"""


@linux
@pytest.mark.peers
@pytest.mark.parametrize("order", ["mlx first", "torch first"])
@pytest.mark.parametrize("asked", ["", "INTEL"])
def test_torch_in_the_same_process_stays_right(order: str, asked: str) -> None:
    parts = [REPORT + CONV, TORCH] if order == "mlx first" else [TORCH, REPORT + CONV]
    printed = answers("\n".join([*parts, TORCH, CONV]), **{"MKL_THREADING_LAYER": asked} if asked else {})
    for measured in printed:
        if "reason" not in measured:
            assert max(measured.values()) <= 1, (order, printed)
            assert all(far < 1e-3 for name, far in measured.items() if "->" not in name), (order, printed)
