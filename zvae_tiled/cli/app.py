"""`zvae`: the group of all commands."""

from __future__ import annotations

import io
import sys
from typing import Any

import click

from zvae_tiled._version import __version__
from zvae_tiled.cli.benchmark import benchmark
from zvae_tiled.cli.calibrate import calibrate
from zvae_tiled.cli.command import OUTPUT, Failure
from zvae_tiled.cli.compare import compare
from zvae_tiled.cli.decode import decode
from zvae_tiled.cli.demo import demo
from zvae_tiled.cli.doctor import doctor
from zvae_tiled.cli.encode import encode
from zvae_tiled.cli.inspect import inspect
from zvae_tiled.cli.mflux import mflux
from zvae_tiled.cli.plan import plan
from zvae_tiled.cli.printing import standard_error_steady, unwritable, warnings_printed
from zvae_tiled.cli.selfcheck import selfcheck
from zvae_tiled.cli.video import video
from zvae_tiled.cli.work import work


class Commands(click.Group):
    """The group, whose own texts may not reach standard output either."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line. ``help`` before the name of a command is ``--help`` behind it."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command."""
        if isinstance(sys.stdout, io.TextIOWrapper):  # names of files are printed as they are, in any encoding
            sys.stdout.reconfigure(errors="surrogateescape")
        with standard_error_steady(), warnings_printed():
            try:
                return super().main(*args, **options)
            except OSError as raised:
                error = unwritable(raised)
                if error is None:
                    raise
                Failure(error, debug=False, command=None).show()
                sys.exit(OUTPUT)


@click.group(
    cls=Commands,
    commands=[
        demo,
        decode,
        video,
        plan,
        encode,
        compare,
        inspect,
        mflux,
        calibrate,
        benchmark,
        selfcheck,
        doctor,
        work,
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ok, 2 usage, 3 bad input, 4 budget, 5 output, 6 decode, 130 interrupted.",
)
@click.version_option(__version__, package_name="zvae-tiled")
def zvae() -> None:
    """Turn VAE latents of any size into pictures, exactly, within a memory budget you set."""
