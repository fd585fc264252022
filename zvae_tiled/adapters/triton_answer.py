"""Sends a decoded picture as an output of a model of Triton: whole, or in parts from top to bottom."""

from __future__ import annotations

import io
from collections.abc import Callable

import mlx.core as mx
import numpy as np

from zvae_tiled.errors import InputError
from zvae_tiled.jobs.decode import Decode
from zvae_tiled.report.report import Report
from zvae_tiled.sinks.writer import samples

Send = Callable[[mx.array], object]
"""Takes an array with an axis of pictures in front."""


def answer(job: Decode, output: str, streams: bool, send: Send) -> Report:
    """Decode, and send the picture.

    Args:
        job: The decode.
        output: ``images``: levels (H, W, 3). ``floats``: (3, H, W) in [0, 1]. ``png``: the bytes of a PNG file.
        streams: Whether to send parts as rows are finished. They are joined along H, or bytes after bytes.
        send: Called with each part.

    Returns:
        What the decode used, without what `send` uses.

    Raises:
        InputError: There are several pictures, and they cannot be sent in this form.
        BudgetError: The budget is too small. Nothing was started, and nothing sent.
    """
    if job.shape[0] != 1 and (streams or output == "png"):
        what = "in parts" if streams else "as png"
        raise InputError(f"one picture a request is sent {what}, this has {job.shape[0]}", "Send one request for each.")
    if streams:
        _in_parts(job, output, send)
    elif output == "png":
        file = io.BytesIO()
        job.write(file, format="png")
        send(_bytes(file.getbuffer()))
    else:
        send(job.array("mx", dtype="uint8") if output == "images" else job.array("mx", layout="NCHW"))
    assert job.report is not None  # it has run
    return job.report


def _in_parts(job: Decode, output: str, send: Send) -> None:
    if output == "png":
        job.write(_Body(send), format="png")
        return
    for rows in job.rows():
        if output == "images":
            send(mx.array(np.concatenate(list(samples(rows, 8))))[None])
        else:
            send(mx.moveaxis(rows, -1, 1))
        del rows  # before the next ones are computed


def _bytes(data: bytes | memoryview) -> mx.array:
    return mx.array(np.frombuffer(data, np.uint8))[None]


class _Body:
    """A file object that sends what is written into it."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def write(self, data: bytes, /) -> None:
        """Send the next bytes."""
        if data:
            self._send(_bytes(data))
