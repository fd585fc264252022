"""Every quality against the full decode: error, seams, time and memory, as the table of ``docs/quality.md``.

``python -m benchmarks.quality``: a random decoder of four levels in float32, structured latents, 384×512 pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.machine import describe
from tests.models import narrow, random_vae
from zvae_tiled.metrics import colour_shift, max_error, psnr, seam_score
from zvae_tiled.plan import quality

CONFIG = narrow("z-image", (16, 16, 32, 32), 8)
HEIGHT, WIDTH = 48, 64
TILE = 192
OVERLAPS = (0, 16, 32, 64, 104)
BUDGET = "24MB"
PROXY = 16
"""A proxy's parts, of a 48×64 map: as small a share of it as 64 is of 192×256, a picture of 1536×2048."""


def main() -> None:
    """Print the table."""
    quality.PROXY = PROXY
    vae = random_vae(CONFIG)
    latents = structured_latents(HEIGHT, WIDTH, CONFIG.latent_channels)

    def decode(options: dict[str, Any]) -> tuple[np.ndarray, Any]:
        found: tuple[np.ndarray, Any] = vae.decode(
            latents, "NCHW", output_type="np", raw=True, budget=BUDGET, return_report=True, **options
        )
        return found

    print(describe(), "\n")
    heads = (
        "quality",
        "moments",
        "overlap",
        "max error",
        "PSNR",
        "seam score, full decode's",
        "colour shift",
        "seconds",
    )
    print(f"| {' | '.join((*heads, 'peak, predicted'))} |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    full, _ = decode({})
    span = float(full.max() - full.min())
    for options in settings():
        picture, report = decode(options)
        cells = [
            options.get("quality", "exact"),
            options.get("moments", "–"),
            f"{options['overlap']} px" if "overlap" in options else "–",
            f"{max_error(picture, full) / span:.2e}",
            f"{psnr(picture, full, span):.1f} dB",
            f"{seam_score(picture, report.plan):.2f}, {seam_score(full, report.plan):.2f}",
            f"{colour_shift(picture, full, report.plan).mean / span:.1e}",
            f"{report.seconds:.1f}",
            f"{report.measured_peak / 1e6:.1f}, {report.predicted_peak / 1e6:.1f} MB",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def settings() -> Iterator[dict[str, Any]]:
    """Yield arguments of `VAE.decode`."""
    yield {}
    yield {"quality": "stream"}
    for moments in ("global", "proxy", "tile"):
        for overlap in OVERLAPS:
            yield {"quality": "tiles", "tile": TILE, "overlap": overlap, "moments": moments}


def structured_latents(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Return latents (1, channels, height, width) with the spectrum of pictures, an object, and a calm part."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((channels, height, width))
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    # As pictures have it: amplitudes that fall with the frequency.
    smooth = np.fft.ifft2(np.fft.fft2(noise) / np.maximum(radius, 1 / max(height, width))).real
    smooth = (smooth - smooth.mean(axis=(1, 2), keepdims=True)) / smooth.std(axis=(1, 2), keepdims=True)
    smooth[:, height // 5 : height // 2, width // 3 : 2 * width // 3] += 0.8 * rng.standard_normal((channels, 1, 1))
    calm = 3 * width // 4
    smooth[:, :, calm:] = 0.3 * smooth[:, :, calm:] + 0.5 * rng.standard_normal((channels, 1, 1))
    latents: np.ndarray = (smooth + 0.15 * noise).astype(np.float32)[None]
    return latents


if __name__ == "__main__":
    main()
