"""Muon (Keller Jordan, 2024) makes momentum orthogonal. Steps are slow on a CPU, and it needs fewer than AdamW."""

from __future__ import annotations

import torch

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Jordan's coefficients, which bring singular values near 1 in five rounds."""


class Muon:
    """The optimiser of weights with two axes or more. The others use AdamW."""

    def __init__(self, weights: list[torch.Tensor]) -> None:
        """Start with no momentum."""
        self.weights = weights
        self.momentum = [torch.zeros_like(weight) for weight in weights]

    def step(self, rate: float) -> None:
        """Move every weight by `rate` in the spectral norm."""
        with torch.no_grad():
            for weight, momentum in zip(self.weights, self.momentum, strict=True):
                assert weight.grad is not None
                momentum.lerp_(weight.grad, 1 - MOMENTUM)
                update = orthogonal(weight.grad.lerp(momentum, MOMENTUM).flatten(1)).reshape(weight.shape)
                weight.sub_(update, alpha=rate * max(1.0, weight.shape[0] / weight[0].numel()) ** 0.5)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return approximately the nearest matrix whose singular values are all 1."""
    a, b, c = NEWTON_SCHULZ
    x = (matrix / (matrix.norm() + 1e-7)).bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).float()
