"""What decodes in tiles and streams gave. Written by ``python -m benchmarks.quality``: do not edit."""

MEASURED: dict[str, dict[int, float]] = {
    "stream": {0: 44.3},
    "global": {0: 34.6, 2: 63.7, 4: 99.3, 8: 168.8, 13: 168.0},
    "proxy": {0: 34.3, 2: 44.3, 4: 44.3, 8: 44.3, 13: 44.3},
    "tile": {0: 28.5, 2: 30.3, 4: 31.3, 8: 32.0, 13: 32.6},
}
"""PSNR in dB, by where moments came from (or ``stream``) and by overlap in latents: docs/quality.md."""
