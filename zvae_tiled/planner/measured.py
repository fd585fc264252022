"""PSNR of decodes in tiles and streams. Written by ``python -m benchmarks.quality``: do not edit."""

MEASURED: dict[str, dict[int, float]] = {
    "stream": {0: 50.1},
    "global": {0: 43.8, 2: 85.6, 4: 127.1, 8: 169.6, 13: 165.1},
    "proxy": {0: 42.9, 2: 50.1, 4: 50.1, 8: 50.1, 13: 50.1},
    "tile": {0: 32.8, 2: 33.2, 4: 33.1, 8: 33.2, 13: 31.4},
}
"""PSNR in dB, by source of the moments (or ``stream``) and by overlap in latents: docs/quality.md."""
