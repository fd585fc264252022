"""Bytes at the two ends of a Chain: the input, the input made ready for the first Step, and the result."""

from __future__ import annotations

from math import prod

from zvae_tiled.planner.case import Case

SMALL_CHANGE = 1 << 18
"""Bytes for small allocations that are not counted one by one: folded norms, constants, rounding up."""

PROCESS = 8 << 20
"""Bytes a process takes besides its arrays: code it runs for the first time, stacks, Python's objects, Pillow.

`python -m benchmarks run --suite process` measured up to 5 MB. Each further thread takes 10 kB, and those that pack
weights, at most one for each block of outputs, up to 150 kB.
"""

BLAS = 4 << 20
"""Bytes that a BLAS keeps once it has multiplied matrices. Where native kernels compute,
nothing does."""

READY_ROWS = 16
"""Rows of a picture that are made ready for the encoder at a time."""


def given_bytes(case: Case) -> int:
    """Return the bytes held from the first sweep to the last: those of the input and of the process itself."""
    # Of latents used as they are given, one picture is counted as the first map.
    pictures = case.batch - 1 if case.as_given else case.batch
    config, numbers = case.config, pictures * case.height * case.width
    numbers *= config.latent_channels if case.task == "decode" else config.scale**2 * config.image_channels
    # In float32, and in a work folder's notes in float64.
    states = sum(12 * prod(step.state) for step in case.chain.steps if step.kind == "linear")
    return 4 * numbers + states + PROCESS + SMALL_CHANGE


def starting_bytes(case: Case, height: int, width: int) -> int:
    """Return the extra bytes while one input of the batch is made ready for the first Step.

    Args:
        case: The decode or encode.
        height: Rows of its latents.
        width: Columns of its latents.
    """
    config = case.config
    if case.as_given:
        return 0
    if case.task == "decode":
        # Two float32 copies and the ready latents. The memory of a freed copy may come back too late for these.
        return (8 + case.itemsize) * height * width * config.latent_channels
    line = width * config.scale * config.image_channels
    # The picture in the VAE's type, and READY_ROWS of its rows in float32, three times: read, widened, shifted.
    return height * config.scale * line * case.itemsize + READY_ROWS * line * 12


def result_bytes(case: Case) -> int:
    """Return the bytes of all finished pictures, or of the means and log-variances of their latents."""
    config, pixels = case.config, case.batch * case.height * case.width
    if case.task == "decode":
        return pixels * config.scale**2 * config.picture_channels * 4
    return pixels * 2 * config.latent_channels * case.itemsize
