"""Checks prepared weights, moments, and rearranged rows. What cannot be right is computed again, then refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from zvae_tiled.chain import Step
from zvae_tiled.devices.kernels import Kernels, Span, T
from zvae_tiled.errors import SilentFailureError

BFLOAT16 = 'float16 ends at 65,504: load the VAE with dtype="bfloat16".'

RESTART = (
    "Another part of the program wrote to this memory, or the memory is faulty: restart the program, then test it."
)


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


def summed(kernels: Kernels[T], step: Step, x: T) -> np.ndarray:
    """Return what each row adds to the state of a linear attention. Compute it again if it cannot be right.

    Raises:
        SilentFailureError: The second result cannot be right either.
    """
    for _ in range(2):
        found = kernels.sums(step, x)
        blank = np.flatnonzero(~found.any(axis=(1, 2, 3))).tolist()
        if np.isfinite(found).all() and not any(_has_keys(step, _row(kernels, x, row)) for row in blank):
            return found
    raise SilentFailureError(
        f"The sums that {step.name} gathers were wrong, twice",
        "Check the weights for values beyond 1e18. If there are none: " + RESTART,
    )


def shuffled(kernels: Kernels[T], step: Step, x: T) -> T:
    """Return the rows of a shuffle, and compute them again if memory did not keep them.

    Raises:
        SilentFailureError: Memory did not keep them the second time either.
    """
    largest = kernels.largest(x).reshape(-1, step.stride).max(axis=1)
    for _ in range(2):
        out = kernels.shuffled(step, x)
        if (kernels.largest(out).reshape(-1, step.factor).max(axis=1) == largest).all():
            return out
        del out
    raise SilentFailureError(f"Memory did not keep the rows of {step.name}, twice", RESTART)


def spread(kernels: Kernels[T], step: Step, skip: list[Span[T]]) -> list[Span[T]]:
    """Return rows of a skip as they are added. Spread them again if memory did not keep them.

    Raises:
        SilentFailureError: Memory did not keep them the second time either.
    """
    if step.spread is None:
        return skip
    x = kernels.join(skip)
    for _ in range(2):
        out = kernels.spread(step.spread, x)
        blank = ~kernels.largest(out).reshape(-1, step.spread.up).any(axis=1)
        rows = [row for pair in np.flatnonzero(blank) for row in range(pair * step.stride, (pair + 1) * step.stride)]
        if not any(_row(kernels, x, row)[:, step.spread.used].any() for row in rows):
            return [(out, 0, kernels.rows(out))]
        del out
    raise SilentFailureError(f"Memory did not keep the skip that {step.name} adds, twice", RESTART)


def added(kernels: Kernels[T], step: Step, carried: T, x: T) -> T:
    """Return the sum of a result and of what was carried to it. Add again if the sum cannot be right.

    Raises:
        SilentFailureError: It cannot be right the second time either.
    """
    for _ in range(2):
        out = kernels.added(carried, x)
        largest = kernels.largest(out)
        blank = np.flatnonzero(largest == 0).tolist()
        if np.isfinite(largest).all() and not any(
            (_row(kernels, carried, r) + _row(kernels, x, r)).any() for r in blank
        ):
            return out
        del out
    beyond = kernels.narrow and not np.isfinite(largest).all()
    raise SilentFailureError(
        f"The result of {step.name} could not be added to what was carried, twice", BFLOAT16 if beyond else RESTART
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


def _has_keys(step: Step, row: np.ndarray) -> bool:
    """Return whether a key of a row is above 0, so that the row adds something."""
    return bool((row.reshape(-1, step.heads, 3, step.head)[:, :, 1] > 0).any())


@np.errstate(invalid="ignore", over="ignore")
def _right(mean: np.ndarray, m2: np.ndarray, row: np.ndarray) -> bool:
    """Return whether a row's moments agree with those that NumPy computes in float64."""
    exact = row.mean(axis=0)
    exact_m2 = np.square(row - exact).sum(axis=0)
    near = 1e-3 * np.sqrt(np.square(row).mean(axis=0))
    return bool(
        (abs(mean - exact) <= near).all() and (abs(m2 - exact_m2) <= len(row) * near * near + exact_m2 / 8).all()
    )
