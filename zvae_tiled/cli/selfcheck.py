"""`zvae selfcheck`: checks a VAE on this device, and writes a file that its owner may send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zvae_tiled.cli.command import DECODE, Command
from zvae_tiled.cli.completion import config_names, vae_names
from zvae_tiled.cli.options import quiet_option
from zvae_tiled.cli.outputs import refuse_as_file, refuse_clashes
from zvae_tiled.cli.sources import load_vae, vae_path, vae_sources
from zvae_tiled.families import weightless
from zvae_tiled.files.atomic import check_place
from zvae_tiled.wording import counted

if TYPE_CHECKING:
    from zvae_tiled.report.figures import Row
    from zvae_tiled.vae import VAE

SIDE = 512
"""Pixels per side of the larger of the two pictures."""

SECONDS = 20.0
"""The most predicted seconds of its decode. On slow devices the pictures are smaller."""

SMALLEST = 8
"""The fewest pipeline's latents per side of the larger picture."""


@click.command(cls=Command, short_help="Check a VAE on this device, and write a file to send.")
@click.option(
    "--vae",
    metavar="DIR|FILE|PRESET",
    shell_complete=vae_names,
    help="The VAE, as in zvae decode. Default: the default VAE.",
)
@click.option(
    "--config",
    metavar="PRESET|FILE",
    shell_complete=config_names,
    help="The shape of the VAE, if there is no config.json beside the weights: a preset, or a config.json.",
)
@click.option(
    "--submit-file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("zvae-selfcheck.json"),
    show_default=True,
    help="The file for the figures. You may attach it to an issue.",
)
@quiet_option
def selfcheck(vae: str | None, config: str | None, submit_file: Path, quiet: bool) -> None:
    """Compare a decode with diffusers, if it is installed beside this package, and measure three small decodes.

    Prints predicted beside measured memory and time, and writes them to a file. Nothing is downloaded or sent. The file
    contains no user name, no host name, no path, no weights and no picture. The exit code is 6 if the pixels differ
    from those of diffusers, or if a decode took more memory than predicted.
    """
    refuse_as_file("--submit-file", submit_file)
    check_place(submit_file)
    refuse_clashes([submit_file], vae_sources(vae, config))
    from zvae_tiled.report.figures import write
    from zvae_tiled.report.rows import lines_of

    say = (lambda _: None) if quiet else (lambda line: click.echo(line, err=True))
    found = checked(vae, config, say)
    faults = faults_of(found)
    try:  # whatever becomes of one of the two, minutes of measuring are not lost
        for line in (parity_line(found["parity"]), *lines_of(found["rows"]), *faults):
            click.echo(line)
    finally:
        write(found, submit_file)
    click.echo(f"The figures are in {submit_file}. Attach it to an issue, so that this device and VAE are known.")
    click.echo(verdict(found["parity"], faults))
    if faults:
        click.get_current_context().exit(DECODE)


def checked(name: str | None, config: str | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures of a check, as they are written."""
    from zvae_tiled.cli.parity import compared
    from zvae_tiled.devices.here import device_kind, device_name, stored_calibration
    from zvae_tiled.report.environment import environment
    from zvae_tiled.sinks.notes import vae_name

    say("beside diffusers")
    vae = load_vae(name, config, "float32")
    parity = compared(vae, _folder(name))
    del vae
    vae = load_vae(name, config, "bfloat16")
    where = {
        **environment(device_kind()),
        "device_name": device_name(),
        "calibrated": stored_calibration()[0] is not None,
    }
    described = {"class": vae.config.class_name, "like": vae_name(vae.config), "config": asdict(vae.config)}
    rows = [
        {key: value for key, value in asdict(row).items() if value not in (None, "", {}, ())} for row in _rows(vae, say)
    ]
    return {"format": 1, "environment": where, "vae": described, "parity": parity, "rows": rows}


def parity_line(parity: dict[str, Any]) -> str:
    """Return the line that says how far diffusers is."""
    if "skipped" in parity:
        return f"diffusers: not compared, {parity['skipped']}"
    verdict = "the same" if parity["same"] else "NOT the same"
    figures = f"{parity['psnr']:.0f} dB, largest difference {parity['largest']:.1e} standard deviations"
    return f"diffusers {parity['diffusers']}: {verdict}, {figures}"


def faults_of(found: dict[str, Any]) -> list[str]:
    """Return a line for each thing that is not as promised."""
    faults = [] if found["parity"].get("same", True) else ["FAULT: the pixels are not those of diffusers"]
    for row in found["rows"]:
        if row["allocator_peak"] > row["predicted_peak"]:
            faults.append(f"FAULT: {row['width']}x{row['height']} took more memory than predicted")
    return faults


def verdict(parity: dict[str, Any], faults: list[str]) -> str:
    """Return the last line: whether anything is wrong."""
    if faults:
        return f"{counted(len(faults), 'thing')} {'is' if len(faults) == 1 else 'are'} WRONG: see FAULT above."
    pixels = "the pixels were not compared" if "skipped" in parity else "the pixels are those of diffusers"
    return f"Nothing is wrong: no decode took more memory than predicted, and {pixels}."


def _folder(name: str | None) -> Path | None:
    """Return the diffusers folder of a VAE; None if there is no config.json beside its weights."""
    from zvae_tiled.weights.find import find_checkpoint

    path = vae_path(name)
    config = None if weightless(path) else find_checkpoint(path).folder_config
    return None if config is None else config.parent


def _rows(vae: VAE, say: Callable[[str], None]) -> Iterator[Row]:
    from zvae_tiled.report.figures import AMPLE, least_budget, measured, random_latents
    from zvae_tiled.sinks.notes import vae_name

    side, least = SIDE, SMALLEST * vae.config.cell
    while side > least and vae.plan(side, side, f"{AMPLE}B").predicted_seconds > SECONDS:
        side = max(least, side // 2)
    small, large = (random_latents(vae.config, pixels, pixels) for pixels in (side // 2, side))
    for pixels, latents, budget in (
        (side // 2, small, AMPLE),
        (side, large, AMPLE),
        (side, large, least_budget(vae, large)),
    ):
        say(f"{pixels}x{pixels}")
        yield measured(vae, latents, budget, 2, "selfcheck", vae_name(vae.config))
