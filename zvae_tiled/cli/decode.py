"""`zvae decode`: latents into picture files."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zvae_tiled.atomic import check_place
from zvae_tiled.cli.again import CHANGES
from zvae_tiled.cli.bar import bar
from zvae_tiled.cli.command import Command, told
from zvae_tiled.cli.inputs import STDIN, Given, Latents, expanded, read, standard_input
from zvae_tiled.cli.options import (
    asked_quality,
    budget_option,
    latents_options,
    quality_options,
    quiet_option,
    spill_option,
    vae_options,
)
from zvae_tiled.cli.outputs import STDOUT, outputs, refuse_clashes, standard_output
from zvae_tiled.cli.plans import plan_file_option, read_plan, save_plan_option, write_plan
from zvae_tiled.cli.sources import load_vae

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
    "for a PNG on standard output. Of a batch, picture 0 goes to name-0.png, and so on.",
)
@vae_options
@budget_option
@quality_options
@latents_options
@click.option("--bits", type=click.Choice(["8", "16", "32"]), help="Bits of a channel. Default: the file kind's own.")
@click.option(
    "--overwrite/--no-overwrite",
    default=True,
    show_default=True,
    help="Whether a file that is there is replaced.",
)
@save_plan_option
@plan_file_option
@spill_option
@quiet_option
def decode(latents: tuple[str, ...], **options: Any) -> None:
    """Decode LATENTS, files of .safetensors, .npy or .npz, into pictures.

    LATENTS may be several files, quoted patterns, or - for standard input. All of them are read and checked before
    the first is decoded. If one fails, the others are decoded all the same.
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
            raise click.UsageError("--save-plan keeps one plan: name one file of latents.")
        if options["save_plan"]:
            check_place(options["save_plan"])
        vae = load_vae(options["vae"], options["config"], options["dtype"])
        jobs = [_Job(*files) for files in zip(names, inputs, targets, strict=True)]
        # What cannot be read or written is said before the first hour of work.
        files = [path for job in jobs for path in _files(vae, job, options)]
        refuse_clashes([*files, *filter(None, [options["save_plan"]])], inputs)
        if out == STDOUT and len(files) > 1:
            raise click.UsageError(f"A batch of {len(files)} does not fit on standard output: name a file with -o.")
        _run(vae, jobs, options)


@dataclass(frozen=True)
class _Job:
    """One file of latents, what it is called on the command line, and where its picture goes."""

    name: str
    source: Path
    target: Path


def _latents(vae: VAE, job: _Job, options: dict[str, Any]) -> Latents:
    given = Given(*(options[name] for name in ("height", "width", "layout", "tensor")))
    return read(job.source, vae.config, given)


def _files(vae: VAE, job: _Job, options: dict[str, Any]) -> tuple[Path, ...]:
    from zvae_tiled.job import picture_shape
    from zvae_tiled.sinks import file_target

    shape = picture_shape(vae.config, _latents(vae, job, options).array)
    return file_target(job.target, shape, _bits(options), options["overwrite"]).paths


def _bits(options: dict[str, Any]) -> int | None:
    return int(options["bits"]) if options["bits"] else None


def _run(vae: VAE, jobs: list[_Job], options: dict[str, Any]) -> None:
    failed: list[tuple[_Job, Exception]] = []
    for job in jobs:
        try:
            _decode(vae, job, options)
        except Exception as error:  # a device may run out of memory in this picture, and not in the next
            if len(jobs) > 1:
                click.echo(f"{job.source}: {told(error)}", err=True)
            failed.append((job, error))
    if failed:
        click.get_current_context().meta[CHANGES] = {"latents": [job.name for job, _ in failed]}
        raise failed[0][1]


def _decode(vae: VAE, job: _Job, options: dict[str, Any]) -> None:
    latents = _latents(vae, job, options)
    asked = {"budget": options["budget"], "quality": asked_quality(options)}
    with bar(job.source.name, options["quiet"]) as listener:
        report = vae.decode_to_file(
            latents.array,
            job.target,
            "NHWC",
            scaled=latents.scaled,
            plan=read_plan(options["plan_file"]) if options["plan_file"] else None,
            progress=listener or False,
            spill_folder=options["spill_folder"],
            bits=_bits(options),
            overwrite=options["overwrite"],
            **asked,
        )
    if options["save_plan"]:
        write_plan(options["save_plan"], report.plan)
    if not options["quiet"]:
        click.echo(f"{report}\nwritten    {'standard output' if options['out'] == STDOUT else job.target}", err=True)
