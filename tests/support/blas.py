"""Processes that load a BLAS at import, and the error of their convolutions against float64."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from typing import Any

import pytest

from tests.support.running import ROOT

KEPT_OUT = ("ZVAE_BLAS", "LD_PRELOAD", "MKL_THREADING_LAYER", "MKL_CBWR", "MKL_VERBOSE")

linux = pytest.mark.skipif(platform.system() != "Linux", reason="only Linux loads a BLAS")

REPORT = """
import dataclasses, json
from zvae_tiled.devices import blas
print(json.dumps(dataclasses.asdict(blas.preload())))
"""

CONV = """
import json, numpy as np, mlx.core as mx
mx.set_default_device(mx.cpu)
random = np.random.default_rng(0)
worst = {}
for name, eps in (("float32", 2.0**-23), ("bfloat16", 2.0**-8)):
    for rows, width, channels, outs in ((1, 33, 64, 3), (1, 64, 129, 128), (5, 40, 48, 64)):
        shapes = (1, rows + 2, width + 2, channels), (outs, 3, 3, channels)
        x, w = (mx.array(random.standard_normal(s, np.float32)).astype(getattr(mx, name)) for s in shapes)
        got = np.array(mx.conv2d(x, w).astype(mx.float32))[0]
        x64, w64 = (np.array(a.astype(mx.float32)).astype(np.float64) for a in (x, w))
        windows = np.lib.stride_tricks.sliding_window_view(x64[0], (3, 3), axis=(0, 1))
        exact = np.einsum("hwcij,oijc->hwo", windows, w64)
        # 9*channels products, summed in float32 in any order; then the result is rounded once.
        size = np.einsum("hwcij,oijc->hwo", abs(windows), abs(w64))
        bound = 9 * channels * 2.0**-23 * size + eps * abs(exact)
        worst[f"{name} {rows}x{width}x{channels}->{outs}"] = float((abs(got - exact) / bound).max())
print(json.dumps(worst))
"""


def child(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in KEPT_OUT}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )


def answers(code: str, **environment: str) -> list[Any]:
    """Run code; return each line of JSON it printed (MKL_VERBOSE prints other lines between)."""
    done = child(code, **environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", "["))]
