"""Draws the README's pictures with the demo VAE: a decode, and the errors of naive tiles.

    python -m benchmarks.showcase

Writes docs/demo.jpg and docs/seams.jpg.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from zvae_tiled import VAE, Tiles, demo
from zvae_tiled.report.metrics import heat_map, psnr, seam_score

DOCS = Path(__file__).parents[1] / "docs"
TILE = 96


def saved(name: str, picture: Image.Image, width: int) -> None:
    small = picture.resize((width, picture.height * width // picture.width), Image.Resampling.LANCZOS)
    small.save(DOCS / name, quality=85, optimize=True)


def main() -> None:
    vae = VAE.demo("float32")
    (album,) = vae.decode(demo.latents("album"), output_type="pil")
    saved("demo.jpg", album, 768)
    latents = demo.latents("cat")
    exact = vae.decode(latents, output_type="np")
    naive = Tiles(TILE, overlap=0, moments="tile")
    tiles, report = vae.decode(latents, quality=naive, output_type="np", return_report=True)
    scores = (seam_score(picture, report.plan) for picture in (tiles, exact))
    print(f"tiles of {TILE} pixels, each with its own moments: {psnr(tiles, exact):.1f} dB from the exact decode")
    print("seam score {:.2f}; the exact decode has {:.2f} at the same places".format(*scores))
    levels = [np.rint(picture[0] * 255).astype(np.uint8) for picture in (exact, tiles)]
    beside = np.concatenate([*levels, heat_map(tiles, exact, report.plan)], axis=1)
    saved("seams.jpg", Image.fromarray(beside), beside.shape[1])


if __name__ == "__main__":
    main()
