"""`zvae decode`: decodes latents into picture files."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zvae_tiled.cli.again import CHANGES
from zvae_tiled.cli.bar import bar
from zvae_tiled.cli.command import Command, message_of
from zvae_tiled.cli.inputs import STDIN, STDIN_FILE, expanded, standard_input
from zvae_tiled.cli.options import (
    budget_option,
    latents_options,
    quality_of,
    quality_options,
    quiet_option,
    spill_option,
    vae_options,
)
from zvae_tiled.cli.outputs import STDOUT, STDOUT_FILE, outputs, refuse_clashes, standard_output
from zvae_tiled.cli.plans import plan_file_option, plan_text, save_plan_option, write_plan
from zvae_tiled.cli.sources import load_vae, vae_path
from zvae_tiled.files.atomic import check_place
from zvae_tiled.order import Order, run, written

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE


@click.command(cls=Command, short_help="Decode latents into pictures.")
@click.argument("latents", nargs=-1, required=True, type=click.Path())
@click.option(
    "--output",
    "-o",
    "out",
    required=True,
    metavar="OUT",
    type=click.Path(),
    help="A file (.png .tif .webp .jpg .npy .safetensors), a folder, a pattern such as 'pictures/{stem}.tif', or - "
    "for a PNG on standard output. Pictures of a batch are numbered: name-0.png, name-1.png.",
)
@vae_options
@budget_option
@quality_options
@latents_options
@click.option("--bits", type=click.Choice(["8", "16", "32"]), help="Bits per channel. Default: the file format's own.")
@click.option(
    "--overwrite/--no-overwrite",
    default=True,
    show_default=True,
    help="Whether to replace existing files.",
)
@save_plan_option
@plan_file_option
@spill_option
@quiet_option
def decode(latents: tuple[str, ...], **options: Any) -> None:
    """Decode LATENTS, files of .safetensors, .npy or .npz, into pictures.

    LATENTS may be several files, quoted patterns, or - for standard input. All files are read and checked before
    the first is decoded. If one decode fails, the others still run.
    """
    names, out = expanded(latents), options["out"]
    with ExitStack() as stack:
        stdin = stack.enter_context(standard_input(names))
        sources = [stdin if name == STDIN else Path(name) for name in names]
        inputs = [path for path in sources if path is not None]
        if out == STDOUT:
            if len(inputs) > 1:
                raise click.UsageError(f"{len(inputs)} pictures do not fit on standard output: name a folder with -o.")
            targets = [stack.enter_context(standard_output())]
        else:
            targets = outputs(out, inputs)
        if options["save_plan"] and len(inputs) > 1:
            raise click.UsageError(f"--save-plan writes one plan, not {len(inputs)}: name one file of latents.")
        if options["save_plan"]:
            check_place(options["save_plan"], options["overwrite"])
        vae = load_vae(options["vae"], options["config"], options["dtype"])
        orders = [_order(source, target, options) for source, target in zip(inputs, targets, strict=True)]
        # Refuse what cannot be read or written before hours of work, not after.
        files = [path for order in orders for path in written(order, vae)]
        _refuse_clashes(files, [*inputs, *([STDIN_FILE] if STDIN in names else [])], vae, options)
        if out == STDOUT and len(files) > 1:
            raise click.UsageError(f"A batch of {len(files)} does not fit on standard output: name a file with -o.")
        _run(vae, dict(zip(names, orders, strict=True)), options)


def _order(source: Path, target: Path, options: dict[str, Any]) -> Order:
    copied = ("dtype", "budget", "tensor", "layout", "height", "width", "overwrite", "spill_folder")
    return Order(
        "decode",
        str(vae_path(options["vae"]).absolute()),
        str(source),
        str(target),
        config=options["config"],
        plan=plan_text(options["plan_file"]) if options["plan_file"] else None,
        quality=quality_of(options),
        bits=int(options["bits"]) if options["bits"] else None,
        **{name: options[name] for name in copied},
    )


def _refuse_clashes(files: list[Path], inputs: list[Path], vae: VAE, options: dict[str, Any]) -> None:
    standard = STDOUT_FILE if options["out"] == STDOUT else None
    targets = [path for path in (*files, options["save_plan"], standard) if path is not None]
    plan = [Path(options["plan_file"])] if options["plan_file"] else []
    refuse_clashes(targets, [*inputs, *plan, *vae.sources])


def _run(vae: VAE, orders: dict[str, Order], options: dict[str, Any]) -> None:
    failed: dict[str, Exception] = {}
    for name, order in orders.items():
        try:
            _decode(vae, order, options)
        except Exception as error:  # the device may run out of memory for this picture, but not for the next
            if len(orders) > 1:
                click.echo(f"{order.source}: {message_of(error)}", err=True)
            failed[name] = error
    if failed:
        click.get_current_context().meta[CHANGES] = {"latents": list(failed)}
        raise next(iter(failed.values()))


def _decode(vae: VAE, order: Order, options: dict[str, Any]) -> None:
    with bar(Path(order.source).name, options["quiet"]) as listener:
        report = run(order, vae, listener or False)
    if options["save_plan"]:
        write_plan(options["save_plan"], report.plan, options["overwrite"])
    if not options["quiet"]:
        target = "standard output" if options["out"] == STDOUT else order.target
        click.echo(f"{report}\nwritten    {target}", err=True)
