"""`zvae encode`: encodes pictures into latents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from zvae_tiled.cli.amounts import warn_above_memory
from zvae_tiled.cli.batch import checked
from zvae_tiled.cli.command import Command
from zvae_tiled.cli.inputs import expanded, refuse_streams
from zvae_tiled.cli.machines import Machines, carry_out, machines_options, manifest_path
from zvae_tiled.cli.options import Limits, Model, limit_options, overwrite_option, quiet_option, vae_options
from zvae_tiled.cli.outputs import outputs, refuse_clashes
from zvae_tiled.cli.sources import check_config, load_vae, order_vae, vae_sources
from zvae_tiled.cli.striped import carry_out_striped, check_stripes, stripes_option
from zvae_tiled.errors import ImageError


@click.command(cls=Command, short_help="Encode pictures into latents.")
@click.argument("images", nargs=-1, required=True, type=click.Path())
@click.option(
    "--output",
    "-o",
    "out",
    required=True,
    metavar="LATENTS",
    type=click.Path(),
    help="The file to write (.safetensors, .npy or .npz), a folder, or a pattern such as 'latents/{stem}.npz'.",
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
@overwrite_option
@click.option(
    "--skip-existing", is_flag=True, help="Leave out pictures whose latents exist: to go on after an interrupt."
)
@machines_options
@stripes_option
@quiet_option
def encode(
    images: tuple[str, ...],
    out: str,
    model: Model,
    limits: Limits,
    crop: bool,
    sample: int | None,
    overwrite: bool,
    skip_existing: bool,
    machines: Machines,
    stripes: bool,
    quiet: bool,
) -> None:
    """Encode IMAGES into latents, scaled and shifted as a pipeline expects them.

    IMAGES are files that Pillow reads (.png, .jpg, .webp, .tif), .npy files of floats, or quoted patterns. All are
    checked before the first is encoded. One that cannot be encoded does not stop the others.
    """
    from zvae_tiled.inputs.latent_files.write import latent_target
    from zvae_tiled.jobs.orders import outline
    from zvae_tiled.order import Order

    machines.check()
    refuse_streams(*images, out)
    if machines.cluster is None:
        warn_above_memory(limits.budget)
    check_config(model.vae, model.config)
    names = expanded(images, ImageError)
    if stripes:
        check_stripes(machines, len(names))
    with outputs(out, [Path(name) for name in names], LATENTS) as targets:
        files = [latent_target(target) for target in targets]
        refuse_clashes(files, [*map(Path, names), *vae_sources(model.vae, model.config)])
        alike = Order(
            "encode",
            order_vae(model.vae),
            source="",
            target="",
            config=model.config,
            dtype=model.dtype,
            budget=limits.budget,
            spill_folder=limits.spill_folder,
            disk_limit=limits.disk_limit,
            crop=crop,
            sample=sample,
            overwrite=overwrite,
        )
        orders = {name: replace(alike, source=name, target=str(file)) for name, file in zip(names, files, strict=True)}
        batch = checked(orders, outline(alike), skip_existing, quiet, "images")
        if stripes:
            carry_out_striped(batch, machines)
            return
        if machines.asked:
            manifests = [manifest_path(batch)] if batch.files else []
            refuse_clashes(manifests, [*files, *map(Path, names), *vae_sources(model.vae, model.config)])
            carry_out(batch, machines, manifests)
            return
        batch.decode(load_vae(model.vae, model.config, model.dtype, decoder_only=False), None, to_standard=False)


LATENTS = ".safetensors"
"""The file kind in a folder."""
