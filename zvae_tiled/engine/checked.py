"""Checks prepared weights and moments. If they cannot be right, they are computed again, then refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from zvae_tiled.chain import Step
from zvae_tiled.devices.kernels import Kernels, T
from zvae_tiled.engine.guard import RESTART
from zvae_tiled.errors import SilentFailureError


def prepared(kernels: Kernels[T], step: Step, weights: Mapping[str, Any]) -> Any:
    """Prepare a Step's weights, and again if memory did not keep them.

    Raises:
        SilentFailureError: Memory did not keep them the second time either.
    """
    for _ in range(2):
        ready = kernels.prepare(step, weights)
        if kernels.intact() and not kernels.lost(weights, ready):
            return ready
        del ready
    raise SilentFailureError(f"Memory did not keep the weights of {step.name}, twice", RESTART)


def moments(kernels: Kernels[T], step: Step, x: T) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and M2 of every channel of every row. Compute them again if they cannot be right.

    Raises:
        SilentFailureError: The second result cannot be right either.
    """
    for _ in range(2):
        means, m2s = kernels.moments(x)
        doubtful = np.flatnonzero(_doubtful(means, m2s)).tolist()
        if all(_right(means[row], m2s[row], _row(kernels, x, row)) for row in doubtful):
            return means, m2s
    raise SilentFailureError(
        f"The statistics of {step.norm.name if step.norm else step.name} were wrong, twice",
        "Check the weights for values beyond 1e18. If there are none: " + RESTART,
    )


def _doubtful(means: np.ndarray, m2s: np.ndarray) -> np.ndarray:
    """Return which rows have moments that a failure could leave: not finite, zeros, or equal in every channel."""
    both = np.stack([means, m2s])
    flat = (both == both[:, :, :1]).all(axis=2) & ((both[:, :, 0] == 0) | (both.shape[2] > 1))
    doubtful: np.ndarray = (flat | ~np.isfinite(both).all(axis=2)).any(axis=0)
    return doubtful


def _row(kernels: Kernels[T], x: T, row: int) -> np.ndarray:
    values: np.ndarray = kernels.to_host(kernels.join([(x, row, row + 1)]))[0].astype(np.float64)
    return values


@np.errstate(invalid="ignore", over="ignore")
def _right(mean: np.ndarray, m2: np.ndarray, row: np.ndarray) -> bool:
    """Return whether a row's moments agree with those that NumPy computes in float64."""
    exact = row.mean(axis=0)
    exact_m2 = np.square(row - exact).sum(axis=0)
    near = 1e-3 * np.sqrt(np.square(row).mean(axis=0))
    return bool(
        (abs(mean - exact) <= near).all() and (abs(m2 - exact_m2) <= len(row) * near * near + exact_m2 / 8).all()
    )
