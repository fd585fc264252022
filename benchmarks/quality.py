"""Compares every quality with the full decode: error, seams, time and memory, as the table of ``docs/quality.md``.

``python -m benchmarks.quality`` decodes photographs' latents with the demo VAE. ``python -m benchmarks.quality random``
decodes structured latents with a random decoder. Both write the table, and ``zvae_tiled/planner/measured.py``, from
which reports take the expected error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import numpy as np

from benchmarks.machine import describe
from benchmarks.quality_table import DOCS, HEADS, MEASURED, Row, measured, module, parse, render, written
from tests.support.models import narrow, random_vae
from zvae_tiled import VAE, Report, demo
from zvae_tiled.planner import layout
from zvae_tiled.planner.quality import Exact, Quality, Statistics, Stream, Tiles
from zvae_tiled.report.metrics import colour_shift, max_error, psnr, seam_score

OVERLAPS = (0, 16, 32, 64, 104)


@dataclass(frozen=True)
class Subject:
    """A VAE and latents to decode.

    Attributes:
        about: A description in one sentence.
        vae: The VAE.
        latents: The latents, (1, channels, h, w).
        tile: Side of a tile in pixels.
        budget: Budget of every decode.
        proxy: Side of a proxy's parts.
    """

    about: str
    vae: VAE
    latents: np.ndarray
    tile: int
    budget: str
    proxy: int


def main(name: str = "demo") -> None:
    """Decode, print the table, and write it to the docs and to the planner."""
    subject = {"demo": trained, "random": untrained}[name]()
    print(" | ".join(HEADS), flush=True)
    rows = []
    for row in decoded(subject):
        print(row, flush=True)
        rows.append(row)
    height, width = (size * subject.vae.config.scale for size in subject.latents.shape[2:])
    about = (
        f"{subject.about}; {width}×{height} pixels, float32, tiles of {subject.tile}, smootherstep, "
        f"budget {subject.budget}, a proxy's parts {subject.proxy}×{subject.proxy}.\n\n{describe()}"
    )
    block = render(about, rows)
    DOCS.write_text(written(DOCS.read_text(), block))
    MEASURED.write_text(module(measured(list(parse(block)), subject.vae.config.scale)))


def trained() -> Subject:
    """Return the demo VAE, and the middle of its album, where photographs meet. Its proxy is a quarter, as at 2048²."""
    album = demo.latents("album")[:, :, 64:192, 64:192].astype(np.float32)
    return Subject("The demo VAE, the middle of its album of photographs", VAE.demo("float32"), album, 384, "200MB", 32)


def untrained() -> Subject:
    """Return a random decoder. Its proxy is the same share of 48×64 latents as 64 is of a picture of 1536×2048."""
    config = narrow("z-image", (16, 16, 32, 32), 8)
    latents = structured_latents(48, 64, config.latent_channels)
    about = "A random decoder (z-image with widths 16, 16, 32, 32), latents with a spectrum like that of pictures"
    return Subject(about, random_vae(config), latents, 192, "24MB", 16)


def decoded(subject: Subject) -> Iterator[Row]:
    """Decode with every setting, and yield a comparison of each with the full decode."""

    def decode(quality: Quality) -> tuple[np.ndarray, Report]:
        result: tuple[np.ndarray, Report] = subject.vae.decode(
            subject.latents,
            output_type="np",
            raw=True,
            budget=subject.budget,
            return_report=True,
            quality=quality,
        )
        return result

    usual, layout.PROXY = layout.PROXY, subject.proxy
    try:
        full, _ = decode(Exact())
        span = float(full.max() - full.min())
        for quality, overlap in settings(subject.tile):
            picture, report = decode(quality)
            yield Row(
                quality=report.quality,
                moments=None if overlap is None else quality.moments,
                overlap=overlap,
                error=max_error(picture, full) / span,
                psnr=psnr(picture, full, span),
                seams=(seam_score(picture, report.plan), seam_score(full, report.plan)),
                shift=colour_shift(picture, full, report.plan).mean / span,
                seconds=report.seconds,
                bytes=(report.measured_peak, report.predicted_peak),
            )
    finally:
        layout.PROXY = usual


def settings(tile: int) -> Iterator[tuple[Quality, int | None]]:
    """Yield every quality of the table, and the overlap of its tiles, or None."""
    yield Exact(), None
    yield Stream(), None
    for moments in get_args(Statistics):
        for overlap in OVERLAPS:
            yield Tiles(tile, overlap, moments=moments), overlap


def structured_latents(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Return latents (1, channels, height, width) with the spectrum of pictures, an object, and a smooth part."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((channels, height, width))
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    # In pictures, amplitudes fall with the frequency.
    smooth = np.fft.ifft2(np.fft.fft2(noise) / np.maximum(radius, 1 / max(height, width))).real
    smooth = (smooth - smooth.mean(axis=(1, 2), keepdims=True)) / smooth.std(axis=(1, 2), keepdims=True)
    smooth[:, height // 5 : height // 2, width // 3 : 2 * width // 3] += 0.8 * rng.standard_normal((channels, 1, 1))
    calm = 3 * width // 4
    smooth[:, :, calm:] = 0.3 * smooth[:, :, calm:] + 0.5 * rng.standard_normal((channels, 1, 1))
    latents: np.ndarray = (smooth + 0.15 * noise).astype(np.float32)[None]
    return latents


if __name__ == "__main__":
    main(*sys.argv[1:])
