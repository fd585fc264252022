"""Compares predicted with measured time in ten cases, after a calibration of this device.

    python -m benchmarks.timing [--stored]

The calibration is made anew, and is not stored. With ``--stored`` the stored one is used. Each case has random weights
and latents. The shorter of two runs counts: predictions are for an idle machine, and other programs only make a run
longer.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.machine import describe
from zvae_tiled import calibrate, config_of
from zvae_tiled.devices.here import stored_calibration
from zvae_tiled.devices.load import OtherLoad
from zvae_tiled.families import VAEConfig
from zvae_tiled.planner.better import listed
from zvae_tiled.planner.calibration import CACHE_VARIABLE
from zvae_tiled.planner.quality import Exact, Quality, Stream, Tiles
from zvae_tiled.report.figures import AMPLE, least_budget, random_latents, random_vae
from zvae_tiled.report.report import Report
from zvae_tiled.wording import duration, size

RUNS = 2

CLOSE = 0.25
"""The largest difference between prediction and measurement, as a share of the measurement."""

EXACT = Exact()

TIGHT = 1.2
"""A tight budget, as a multiple of the smallest that works."""


@dataclass(frozen=True)
class Timed:
    """One case.

    Attributes:
        vae: A preset's name, or a config.
        width: The picture's width in pixels.
        height: The picture's height in pixels.
        dtype: Type of the weights.
        tight: Whether the budget is tight, not ample.
        quality: The quality of a decode.
        encode: Whether the picture is encoded.
    """

    vae: str | VAEConfig
    width: int
    height: int
    dtype: str = "bfloat16"
    tight: bool = False
    quality: Quality = EXACT
    encode: bool = False

    def __str__(self) -> str:
        """Name the case in a few words."""
        name = self.vae if isinstance(self.vae, str) else self.vae.class_name
        words = ["encode"] if self.encode else [] if self.quality == EXACT else [self.quality.name]
        words += ["tight"] if self.tight else []
        return " ".join([name, f"{self.width}x{self.height}", self.dtype, *words])


CASES = (
    Timed("z-image", 256, 256),
    Timed("z-image", 512, 512),
    Timed("z-image", 512, 512, tight=True),
    Timed("z-image", 1024, 1024),
    Timed("z-image", 1024, 512, "float32"),
    Timed("z-image", 1024, 1024, quality=Tiles(512, moments="tile")),
    Timed("z-image", 1024, 1024, quality=Stream()),
    Timed("z-image", 512, 512, encode=True),
    Timed("qwen-image", 512, 512),
    Timed("taesd", 2048, 2048),
)


def main(words: list[str] | None = None) -> int:
    """Print the table. Return 1 if a prediction is not close."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.timing", description="Predicted and measured time.")
    parser.add_argument("--stored", action="store_true", help="use the stored calibration of this device")
    stored = parser.parse_args(words).stored
    print(describe())
    with _calibrated(stored):
        print(f"\n{'case':<36}  {'memory':>8}  {'predicted':>9}  {'measured':>8}  {'ratio':>5}  {'others':>6}")
        close = sum(_timed(case) for case in CASES)
    print(f"\n{close} of {len(CASES)} within ±{CLOSE:.0%}; others: cores that other programs used meanwhile")
    return int(close < len(CASES))


@contextmanager
def _calibrated(stored: bool) -> Iterator[None]:
    """Calibrate this device for the block, unless its stored calibration is to be used."""
    if stored:
        print(stored_calibration()[1])
        yield
        return
    before = os.environ.get(CACHE_VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[CACHE_VARIABLE] = folder
        try:
            found = calibrate(lambda line: print(line, file=sys.stderr))
            print(*listed(found), sep="\n")
            yield
        finally:
            if before is None:
                del os.environ[CACHE_VARIABLE]
            else:
                os.environ[CACHE_VARIABLE] = before


def _timed(case: Timed) -> bool:
    """Measure a case, print its row, and return whether its prediction is close."""
    load = OtherLoad()
    report = min((_run(case) for _ in range(RUNS)), key=lambda report: report.seconds)
    ratio = report.predicted_seconds / report.seconds
    print(
        f"{case!s:<36}  {size(report.measured_peak):>8}  {duration(report.predicted_seconds):>9}  "
        f"{duration(report.seconds):>8}  {ratio:>5.2f}  {load.cores():>6.1f}",
        flush=True,
    )
    return abs(ratio - 1) <= CLOSE


def _run(case: Timed) -> Report:
    config = config_of(case.vae)
    vae = random_vae(config, case.dtype, case.encode)
    if case.encode:
        images = np.random.default_rng(0).random((1, case.height, case.width, 3), np.float32)
        return _report(vae.encode(images, budget=f"{AMPLE}B", return_report=True))
    latents = random_latents(config, case.height, case.width)
    least = least_budget(vae, latents) if case.tight else 0
    budget = int(TIGHT * least) if case.tight else AMPLE
    return _report(vae.decode(latents, "np", budget=f"{budget}B", quality=case.quality, return_report=True))


def _report(result: Any) -> Report:
    report: Report = result[1]
    return report


if __name__ == "__main__":
    sys.exit(main())
