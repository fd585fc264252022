"""`zvae video`: decodes latents of a video into picture files, or into raw frames for an encoder of videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from zvae_tiled.cli.amounts import warn_above_memory
from zvae_tiled.cli.bar import bar
from zvae_tiled.cli.command import Command
from zvae_tiled.cli.inputs import STDIN, STDIN_FILE, standard_input
from zvae_tiled.cli.options import Model, budget_option, overwrite_option, quiet_option, spill_option, vae_options
from zvae_tiled.cli.outputs import STDOUT, STDOUT_FILE, checked_standard_output, refuse_clashes
from zvae_tiled.cli.printing import give_up_standard_output, warnings_told
from zvae_tiled.cli.sources import load_vae
from zvae_tiled.errors import OutputError


@click.command(cls=Command, short_help="Decode latents of a video into frames.")
@click.argument("latents", type=click.Path())
@click.option(
    "--output",
    "-o",
    "out",
    required=True,
    metavar="OUT",
    type=click.Path(),
    help="Picture files such as frames/%05d.png, numbered from 0; or the 8-bit pixels of all frames, row by row "
    "without a header, in a file that ends in .rgb or .raw, in a pipe, or - for standard output.",
)
@vae_options
@budget_option
@spill_option
@click.option("--tensor", metavar="NAME", help="The tensor that holds the latents, if the file has several.")
@click.option("--bits", type=click.Choice(["8", "16"]), help="Bits per channel of picture files. Default: 8.")
@overwrite_option
@quiet_option
def video(
    latents: str,
    out: str,
    model: Model,
    budget: str | None,
    spill_folder: str | None,
    tensor: str | None,
    bits: str | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Decode LATENTS of a video of Wan 2.1 or Qwen-Image, (1, 16, frames, h, w), frame by frame.

    Every frame is that of a full decode. Memory depends neither on the number of frames, beside the latents, nor on the
    height: what is carried from frame to frame is spilled where the budget has no room for it. LATENTS may be - for
    standard input.

    Into a file of a video: zvae video v.npy -o - | ffmpeg -f rawvideo -pix_fmt rgb24 -s 832x480 -r 16 -i - v.mp4
    """
    from zvae_tiled.inputs.latent_files import read_latent_file

    warn_above_memory(budget)
    with warnings_told(), standard_input((latents,)) as received, _place(out) as place:
        source = Path(latents) if received is None else received
        given = read_latent_file(source, tensor)
        vae = load_vae(model.vae, model.config, model.dtype, video=True)
        with bar(Path(latents).name, quiet) as listener:
            job = vae.video(given, budget=budget, spill_folder=spill_folder, progress=listener or False)
            refuse_clashes(_files(out, job.shape[0]), [STDIN_FILE if latents == STDIN else source, *vae.sources])
            report = job.write(place, bits=None if bits is None else int(bits), overwrite=overwrite)
    if not quiet:
        click.echo(f"{report}\nwritten    {'standard output' if out == STDOUT else out}", err=True)


def _files(out: str, frames: int) -> Sequence[Path]:
    """Return all files that are written."""
    from zvae_tiled.sinks.video import frame_paths, is_raw

    path = STDOUT_FILE if out == STDOUT else Path(out)
    return [path] if out == STDOUT or is_raw(path) else frame_paths(path, frames)


@contextmanager
def _place(out: str) -> Iterator[Any]:
    """Yield where frames are written: standard output itself, or what `out` names.

    Raises:
        OutputError: The reader of standard output ended before it had read all frames.
    """
    if out != STDOUT:
        yield out
        return
    from zvae_tiled.sinks.caller import NAME

    stream = checked_standard_output()
    try:
        yield stream
    except OutputError as error:
        if NAME not in error.problem:  # such as a full disk of spilled maps
            raise
        give_up_standard_output()
        raise OutputError(error.problem.replace(NAME, "standard output"), error.advice) from error.__cause__
