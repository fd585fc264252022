"""What lies at the two ends of a Chain, in bytes: what was handed in, what is made ready of it, what is finished."""

from __future__ import annotations

from zvae_tiled.planner.case import Case

SMALL_CHANGE = 1 << 18
"""Bytes for what is not counted one by one: norms folded, constants, allocations rounded up."""

PROCESS = 8 << 20
"""Bytes a process takes beside its arrays: code it runs for the first time, stacks, Python's objects, Pillow.

`python -m benchmarks run --suite process` measured up to 5 MB; each further thread has a stack of some 40 kB.
"""

READY_ROWS = 16
"""Rows of a picture made ready for the encoder at once."""


def given_bytes(case: Case) -> int:
    """Return the bytes held from the first sweep to the last: of what was handed in, and of the process itself."""
    config, numbers = case.config, case.batch * case.height * case.width
    numbers *= config.latent_channels if case.task == "decode" else config.scale**2 * config.in_channels
    return 4 * numbers + PROCESS + SMALL_CHANGE


def starting_bytes(case: Case, height: int, width: int) -> int:
    """Return the bytes on top while one of the batch, of this size, is made ready for the first Step."""
    config = case.config
    if case.task == "decode":
        # Two float32 copies, and the ready ones, for which a freed copy's memory may come back too late.
        return (8 + case.itemsize) * height * width * config.latent_channels
    line = width * config.scale * config.in_channels
    # The picture in the VAE's type, and some rows of it in float32: as they were, widened, shifted.
    return height * config.scale * line * case.itemsize + READY_ROWS * line * 12


def result_bytes(case: Case) -> int:
    """Return the bytes of all finished pictures, or of the means and log-variances of their latents."""
    config, pixels = case.config, case.batch * case.height * case.width
    if case.task == "decode":
        return pixels * config.scale**2 * config.out_channels * 4
    return pixels * 2 * config.latent_channels * case.itemsize
