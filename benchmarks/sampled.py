"""Compares attention to sampled keys with the exact decode, as the table of ``docs/quality.md``.

``python -m benchmarks.sampled`` decodes the demo VAE's album, of 2048×2048 and, turned and mirrored, of 4096×4096
pixels; and structured latents with random decoders, within an hour. ``python -m benchmarks.sampled small``
decodes a quarter of the album in a minute.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.machine import describe
from benchmarks.quality import structured_latents
from benchmarks.quality_table import DOCS
from tests.support.models import narrow, random_vae
from zvae_tiled import VAE, Sampled, demo
from zvae_tiled.report.metrics import psnr

BEGIN, END = "<!-- written by benchmarks.sampled -->", "<!-- end of the sample's table -->"
SHARES = (64, 16, 4)
"""One key in so many is kept."""

HEAD = (
    "| decoder, picture | keys kept | error of the map: RMS, 99 %, largest | largest of the picture | PSNR "
    "| expected |\n"
    "|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Subject:
    """A decoder, and latents to decode."""

    name: str
    vae: VAE
    latents: np.ndarray


def main(size: str = "all") -> None:
    """Decode, print the table, and write it to the docs."""
    lines = [HEAD]
    print(HEAD, flush=True)
    for subject in subjects(size):
        for line in compared(subject):
            print(line, flush=True)
            lines.append(line)
    block = "\n".join([f"{describe()}; float32.", "", *lines])
    if size == "all":
        before, _, rest = DOCS.read_text().partition(BEGIN)
        DOCS.write_text(f"{before}{BEGIN}\n{block}\n{END}{rest.partition(END)[2]}")


def subjects(size: str) -> Iterator[Subject]:
    """Yield what is decoded."""
    trained, album = VAE.demo("float32"), demo.latents("album").astype(np.float32)
    if size == "small":
        yield Subject("demo, 1024²", trained, album[:, :, 64:192, 64:192])
        return
    for seed, widths in ((0, (32, 32, 64, 64)), (1, (64, 64, 128, 128))):
        config = narrow("z-image", widths, 16)
        latents = structured_latents(128, 128, config.latent_channels, seed)
        yield Subject(f"random, {widths[-1]} channels, 1024²", random_vae(config, seed=seed), latents)
    yield Subject("demo, album 2048²", trained, album)
    top = np.concatenate([album, album[..., ::-1]], axis=3)
    bottom = np.concatenate([album.transpose(0, 1, 3, 2), album[:, :, ::-1]], axis=3)
    yield Subject("demo, four albums 4096²", trained, np.concatenate([top, bottom], axis=2))


def compared(subject: Subject) -> Iterator[str]:
    """Decode exactly and with each number of keys, and yield the lines of the table."""
    exact = decoded(subject)[0]
    keys = subject.latents.shape[2] * subject.latents.shape[3]
    for share in SHARES:
        picture, report = decoded(subject, quality=Sampled(keys // share))
        (error,) = report.sampled
        shares = ", ".join(f"{100 * each:.2g} %" for each in (error.rms, error.most, error.largest))
        yield (
            f"| {subject.name} | {error.kept:,} of {keys:,} | {shares} "
            f"| {np.abs(picture - exact).max() / 2 * 255:.2g}/255 | {psnr(picture, exact, 2.0):.1f} dB "
            f"| {error.expected_psnr or np.inf:.1f} dB |"
        )


def decoded(subject: Subject, **options: Any) -> tuple[np.ndarray, Any]:
    """Return the decoder's own values, about [-1, 1], and a report."""
    found: tuple[np.ndarray, Any] = subject.vae.decode(
        subject.latents, "np", raw=True, return_report=True, budget="8GB", **options
    )
    return np.clip(found[0], -1, 1), found[1]


if __name__ == "__main__":
    main(*sys.argv[1:])
