"""Draws the quickstart's picture of what the demo decodes, ``docs/demo.jpg``: ``python -m benchmarks.showcase``."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from zvae_tiled import VAE, demo

PICTURE = Path(__file__).parents[1] / "docs" / "demo.jpg"
WIDTH = 768


def main() -> None:
    (album,) = VAE.demo("float32").decode(demo.latents("album"), output_type="pil")
    small = album.resize((WIDTH, album.height * WIDTH // album.width), Image.Resampling.LANCZOS)
    small.save(PICTURE, quality=85, optimize=True)


if __name__ == "__main__":
    main()
