"""Detects forked processes, in which MLX cannot compute: MLX's threads are not forked, so it would wait forever.

A fork of a process in which MLX did nothing is harmless. This is checked just before the fork, because afterwards the
check could wait for a lock that a lost thread holds. This module imports no MLX. It is loaded with the package, so it
also sees forks of processes that use MLX without a VAE.
"""

from __future__ import annotations

import os
import sys

from zvae_tiled.devices.table import likely_device
from zvae_tiled.errors import ForkError

_used = False
"""Whether this package computed in this process. MLX's own counters are not enough: they can be reset."""

_used_at_fork = False
_lost_threads = False


def check_threads() -> None:
    """Refuse to compute if MLX's threads were lost in a fork. Every function that computes with MLX calls this first.

    Raises:
        ForkError: This process was forked from one in which MLX had been used.
    """
    global _used
    if _lost_threads:
        raise ForkError(
            "this process was forked from one that had used MLX: MLX's threads do not exist here, and a computation "
            "would never end",
            'Start processes with the spawn method: multiprocessing.get_context("spawn"), or '
            'multiprocessing_context="spawn" of a torch DataLoader.',
        )
    _used = True


def _before_fork() -> None:
    global _used_at_fork
    _used_at_fork = _used or _mlx_was_used()


def _after_fork_in_child() -> None:
    global _lost_threads, _used
    _lost_threads = _lost_threads or _used_at_fork
    _used = False


def _mlx_was_used() -> bool:
    """Return whether MLX has created arrays: without one it cannot have computed anything.

    On a GPU, an import of MLX is enough: reading the counters would initialise the GPU before the fork, and a GPU
    that is initialised cannot be used after it.
    """
    mlx = sys.modules.get("mlx.core")
    if mlx is None or likely_device() != "cpu":
        return mlx is not None
    counters = ("get_active_memory", "get_peak_memory", "get_cache_memory")
    return any(getattr(mlx, counter)() for counter in counters if hasattr(mlx, counter))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
