"""Random pictures to encode, the same for every tool of a race."""

from __future__ import annotations

import numpy as np

from benchmarks.case import Case


def images_of(case: Case) -> np.ndarray:
    """Return pictures (B, H, W, C) in [0, 1]."""
    shape = (case.batch, case.height, case.width, case.config.image_channels)
    return np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
