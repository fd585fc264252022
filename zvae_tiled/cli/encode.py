"""`zvae encode`: a picture into latents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zvae_tiled.cli.bar import bar
from zvae_tiled.cli.command import Command
from zvae_tiled.cli.options import budget_option, quiet_option, spill_option, vae_options
from zvae_tiled.cli.outputs import refuse_clashes
from zvae_tiled.cli.pictures import read_picture
from zvae_tiled.cli.sources import load_vae

if TYPE_CHECKING:
    from zvae_tiled.latents import Layout


@click.command(cls=Command, short_help="Encode a picture into latents.")
@click.argument("image", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--output",
    "-o",
    "out",
    required=True,
    metavar="LATENTS",
    type=click.Path(),
    help="The file of latents: .safetensors, .npy or .npz.",
)
@vae_options
@budget_option
@click.option(
    "--sample",
    type=click.IntRange(0, (1 << 64) - 1),
    metavar="SEED",
    help="Draw latents with this seed. Default: the most likely ones.",
)
@click.option("--crop", is_flag=True, help="Cut right and bottom to what whole latents cover, instead of refusing.")
@spill_option
@quiet_option
def encode(image: str, out: str, crop: bool, sample: int | None, quiet: bool, **options: Any) -> None:
    """Encode IMAGE into latents, scaled and shifted as a pipeline has them."""
    import mlx.core as mx

    from zvae_tiled.latent_files.write import latent_target, write_latent_file

    refuse_clashes([latent_target(out)], [Path(image)])
    picture = read_picture(image)
    vae = load_vae(options["vae"], options["config"], options["dtype"], decoder_only=False)
    if crop:
        height, width = (size // vae.config.scale * vae.config.scale for size in picture.shape[:2])
        picture = picture[:height, :width]
    with bar(Path(image).name, quiet) as listener:
        found, report = vae.encode(
            picture,
            budget=options["budget"],
            progress=listener or False,
            return_report=True,
            spill_folder=options["spill_folder"],
        )
    latents = found.mode() if sample is None else found.sample(mx.random.key(sample))
    layout: Layout | None = None if Path(out).suffix.lower() == ".npy" else "NCHW"  # a .npy has no place for it
    write_latent_file(out, mx.moveaxis(latents, -1, 1), layout=layout)
    if not quiet:
        click.echo(f"{report}\nwritten    {out}", err=True)
