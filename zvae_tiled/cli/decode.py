"""`zvae decode`: decodes latents into picture files."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click

from zvae_tiled.cli.amounts import warn_above_memory
from zvae_tiled.cli.batch import checked
from zvae_tiled.cli.command import Command
from zvae_tiled.cli.inputs import STDIN, STDIN_FILE, expanded, standard_input
from zvae_tiled.cli.look import Look, look_options
from zvae_tiled.cli.machines import Machines, carry_out, machines_options, manifest_path
from zvae_tiled.cli.options import (
    Limits,
    Model,
    Reading,
    bits_option,
    check_sizes,
    group,
    latents_options,
    limit_options,
    overwrite_option,
    quality_options,
    quiet_option,
    vae_options,
)
from zvae_tiled.cli.outputs import (
    STDOUT,
    STDOUT_FILE,
    check_outside,
    check_work,
    outputs,
    refuse_as_file,
    refuse_batch_on_standard,
    refuse_beside_standard,
    refuse_clashes,
    standard_output,
)
from zvae_tiled.cli.plans import plan_file_option, plan_text, save_plan_option
from zvae_tiled.cli.printing import warnings_told
from zvae_tiled.cli.sources import check_config, load_vae, order_vae
from zvae_tiled.cli.striped import carry_out_striped, check_stripes, stripes_option
from zvae_tiled.files.atomic import check_place
from zvae_tiled.jobs.orders import outline
from zvae_tiled.order import Order
from zvae_tiled.planner.quality import Exact, Quality


@dataclass(frozen=True)
class Writing:
    """The options that say how files are written, as they were typed.

    Attributes:
        bits: ``--bits``.
        overwrite: ``--overwrite``.
        skip_existing: ``--skip-existing``.
        save_plan: ``--save-plan``.
        metadata: ``--metadata``.
        work: ``--work``.
    """

    bits: str | None
    overwrite: bool
    skip_existing: bool
    save_plan: Path | None
    metadata: bool
    work: str | None


@click.command(cls=Command, short_help="Decode latents into pictures.")
@click.argument("latents", nargs=-1, required=True, type=click.Path())
@click.option(
    "--output",
    "-o",
    "outs",
    required=True,
    multiple=True,
    metavar="OUT",
    type=click.Path(),
    help="A file (.png .tif .ptif .dzi .webp .jpg .npy .safetensors), a folder, a pattern such as "
    "'pictures/{stem}.tif', or - for a PNG on standard output. Pictures of a batch are numbered: "
    "name-0.png, name-1.png. Several -o are written by one decode: -o a.png -o a.npy.",
)
@vae_options
@limit_options
@quality_options
@latents_options
@group(
    "writing",
    Writing,
    bits=bits_option,
    overwrite=overwrite_option,
    skip_existing=click.option(
        "--skip-existing", is_flag=True, help="Leave out latents whose pictures all exist: to go on after an interrupt."
    ),
    save_plan=save_plan_option,
    metadata=click.option(
        "--metadata/--no-metadata",
        default=True,
        show_default=True,
        help="Whether to write texts of the latents' file, such as prompt and workflow, into the picture.",
    ),
    work=click.option(
        "--work",
        metavar="DIR",
        type=click.Path(file_okay=False),
        help="Keep maps, parts of the pictures and a journal in this folder: after a crash or an interrupt the same "
        "command goes on. It is removed at the end. Without it nothing remains.",
    ),
)
@plan_file_option
@look_options
@machines_options
@stripes_option
@quiet_option
def decode(
    latents: tuple[str, ...],
    outs: tuple[str, ...],
    model: Model,
    limits: Limits,
    quality: Quality,
    reading: Reading,
    writing: Writing,
    plan_file: str | None,
    look: Look,
    machines: Machines,
    stripes: bool,
    quiet: bool,
) -> None:
    """Decode LATENTS, files of .safetensors, .npy or .npz, into pictures.

    LATENTS may be several files, quoted patterns, or - for standard input. All files are read and checked before
    the first is decoded. One that cannot be decoded does not stop the others: it is listed at the end.
    """
    look.check(quality, planned=plan_file is not None or writing.save_plan is not None)
    if look.preview and writing.work is not None:
        raise click.UsageError("--preview: a quick look has nothing to go on with. Remove --work, or --preview.")
    if look.preview and limits.disk_limit is not None:
        raise click.UsageError("--preview: a quick look has no --disk-limit. Remove it, or --preview.")
    if plan_file is not None:
        _check_plan(limits, quality)
    _check_machines(machines, latents, outs, writing, look)
    if machines.cluster is None:
        warn_above_memory(limits.budget)
    names = expanded(latents)
    with ExitStack() as stack:
        stack.enter_context(warnings_told())
        stdin = stack.enter_context(standard_input(names))
        sources = [stdin if name == STDIN else Path(name) for name in names]
        inputs = [path for path in sources if path is not None]
        to_standard = STDOUT in outs
        if to_standard:
            refuse_beside_standard(outs)
            if len(inputs) > 1:
                raise click.UsageError(f"{len(inputs)} pictures do not fit on standard output: name a folder with -o.")
            if writing.skip_existing or not writing.overwrite:
                raise click.UsageError("Nothing exists on standard output: remove --skip-existing and --no-overwrite.")
            if look.early:
                raise click.UsageError("--early-look is named after the picture's file: name one in place of -.")
            named = [[stack.enter_context(standard_output(quiet, keep=writing.work is not None))]]
        else:
            named = [stack.enter_context(outputs(out, inputs)) for out in outs]
        if stripes:
            check_stripes(machines, len(inputs))
        if writing.work and len(inputs) > 1:
            raise click.UsageError(f"--work is for one decode, not {len(inputs)}: name one file of latents.")
        if writing.work and not to_standard:
            check_work([target for targets in named for target in targets])
            check_outside(writing.work, [target for targets in named for target in targets])
        if writing.work and writing.save_plan:
            check_outside(writing.work, [writing.save_plan])
        if writing.save_plan and len(inputs) > 1:
            raise click.UsageError(f"--save-plan writes one plan, not {len(inputs)}: name one file of latents.")
        if writing.save_plan:
            refuse_as_file("--save-plan", writing.save_plan)
            check_place(writing.save_plan, writing.overwrite)
        check_config(model.vae, model.config)
        vae = None if machines.asked else load_vae(model.vae, model.config, model.dtype)
        alike = Order(
            "decode",
            order_vae(model.vae),
            source="",
            target="",
            plan=None if plan_file is None else plan_text(plan_file),
            quality=quality,
            bits=None if writing.bits is None else int(writing.bits),
            overwrite=writing.overwrite,
            texts=writing.metadata,
            work=writing.work,
            config=model.config,
            dtype=model.dtype,
            **asdict(limits),
            **asdict(reading),
            preview=look.preview,
            tiny=look.decoder() if look.preview else None,
        )
        vae = outline(alike) if vae is None else vae
        check_sizes(quality, vae.config)
        orders = [
            replace(alike, source=str(source), target=str(targets[0]), also=tuple(map(str, targets[1:])))
            for source, targets in zip(inputs, zip(*named, strict=True), strict=True)
        ]
        batch = checked(dict(zip(names, orders, strict=True)), vae, writing.skip_existing, quiet)
        if look.early:
            batch = batch.with_looks({name: look.before(order) for name, order in batch.orders.items()}, vae)
        standard = [STDOUT_FILE] if to_standard else []
        manifests = [manifest_path(batch)] if machines.asked and batch.files and not stripes else []
        plans = [] if writing.save_plan is None else [writing.save_plan]
        read = [*inputs, *([STDIN_FILE] if STDIN in names else []), *([] if plan_file is None else [Path(plan_file)])]
        refuse_clashes([*batch.files, *plans, *standard, *manifests], [*read, *vae.sources, *look.sources(vae)])
        if to_standard:
            refuse_batch_on_standard(len(batch.files))
        if stripes:
            carry_out_striped(batch, machines)
            return
        if machines.asked:
            carry_out(batch, machines, manifests)
            return
        batch.decode(vae, writing.save_plan, to_standard)


def _check_plan(limits: Limits, quality: Quality) -> None:
    """Refuse what a plan has itself."""
    for option, typed in (("--budget", limits.budget is not None), ("--quality", quality != Exact())):
        if typed:
            raise click.UsageError(f"--plan: a plan has its own {option[2:]}. Remove {option}, or --plan.")


def _check_machines(
    machines: Machines, latents: tuple[str, ...], outs: tuple[str, ...], writing: Writing, look: Look
) -> None:
    machines.check()
    if not machines.asked:
        return
    if STDIN in latents or STDOUT in outs:
        raise click.UsageError("Other processes read and write files: name them, in place of -.")
    if writing.save_plan:
        raise click.UsageError("--save-plan writes the plan of one decode here: remove it, or --workers and --cluster.")
    if look.early:
        raise click.UsageError("--early-look is written here: remove it, or --workers and --cluster.")
    if writing.work is not None:
        raise click.UsageError("--work is for one decode here: remove it, or --workers and --cluster.")
