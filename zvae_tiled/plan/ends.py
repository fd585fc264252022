"""What lies at the two ends of a Chain, in bytes: what was handed in, what is made ready of it, what is finished."""

from __future__ import annotations

from zvae_tiled.chain import Task
from zvae_tiled.config import VAEConfig
from zvae_tiled.plan.plan import ITEMSIZES

SMALL_CHANGE = 1 << 18
"""Bytes for what is not counted one by one: norms folded, constants, allocations rounded up."""

PROCESS = 8 << 20
"""Bytes a process takes beside its arrays: code it runs for the first time, stacks, Python's objects, Pillow.

`python -m benchmarks run --suite process` measured up to 5 MB; each further thread has a stack of some 40 kB.
"""

READY_ROWS = 16
"""Rows of a picture made ready for the encoder at once."""


def given_bytes(config: VAEConfig, task: Task, height: int, width: int, batch: int) -> int:
    """Return the bytes held from the first sweep to the last: of what was handed in, and of the process itself."""
    if task == "decode":
        return latent_bytes(config, height, width, batch)
    return batch * height * width * config.scale**2 * config.in_channels * 4 + PROCESS + SMALL_CHANGE


def starting_bytes(config: VAEConfig, task: Task, height: int, width: int, dtype: str) -> int:
    """Return the bytes on top while one of the batch is made ready for the first Step."""
    if task == "decode":
        return 8 * height * width * config.latent_channels  # two float32 copies
    line = width * config.scale * config.in_channels
    # The picture in the VAE's type, and some rows of it in float32: as they were, widened, shifted.
    return height * config.scale * line * ITEMSIZES[dtype] + READY_ROWS * line * 12


def result_bytes(config: VAEConfig, task: Task, height: int, width: int, dtype: str) -> int:
    """Return the bytes of a finished picture, or of the mean and the log-variance of one's latents."""
    if task == "decode":
        return picture_bytes(config, height, width)
    return height * width * 2 * config.latent_channels * ITEMSIZES[dtype]


def picture_bytes(config: VAEConfig, height: int, width: int) -> int:
    """Return the bytes of a finished picture."""
    return height * width * config.scale**2 * config.out_channels * 4


def latent_bytes(config: VAEConfig, height: int, width: int, batch: int) -> int:
    """Return the bytes of latents as they came, of the process itself, and of small change."""
    return 4 * batch * height * width * config.latent_channels + PROCESS + SMALL_CHANGE
