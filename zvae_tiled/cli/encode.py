"""`zvae encode`: encodes a picture into latents."""

from __future__ import annotations

from pathlib import Path

import click

from zvae_tiled.cli.bar import bar
from zvae_tiled.cli.command import Command
from zvae_tiled.cli.options import Limits, Model, limit_options, quiet_option, vae_options
from zvae_tiled.cli.outputs import refuse_clashes
from zvae_tiled.cli.sources import load_vae, order_vae, vae_sources


@click.command(cls=Command, short_help="Encode a picture into latents.")
@click.argument("image", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--output",
    "-o",
    "out",
    required=True,
    metavar="LATENTS",
    type=click.Path(),
    help="The file to write: .safetensors, .npy or .npz.",
)
@vae_options
@limit_options
@click.option(
    "--sample",
    type=click.IntRange(0, (1 << 64) - 1),
    metavar="SEED",
    help="Sample the latents with this seed. Default: the mean, the most likely latents.",
)
@click.option(
    "--crop", is_flag=True, help="Crop right and bottom edges to whole latents, instead of refusing the picture."
)
@quiet_option
def encode(image: str, out: str, model: Model, limits: Limits, crop: bool, sample: int | None, quiet: bool) -> None:
    """Encode IMAGE into latents, scaled and shifted as a pipeline expects them."""
    from zvae_tiled.inputs.latent_files.write import latent_target
    from zvae_tiled.order import Order, run

    sources = vae_sources(model.vae, model.config)
    refuse_clashes([latent_target(out)], [Path(image), *sources])
    vae = load_vae(model.vae, model.config, model.dtype, decoder_only=False)
    order = Order(
        "encode",
        order_vae(model.vae),
        image,
        out,
        config=model.config,
        dtype=model.dtype,
        budget=limits.budget,
        spill_folder=limits.spill_folder,
        crop=crop,
        sample=sample,
    )
    with bar(Path(image).name, quiet) as listener:
        report = run(order, vae, listener or False)
    if not quiet:
        click.echo(f"{report}\nwritten    {out}", err=True)
