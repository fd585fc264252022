"""Writes the reference of the command line in ``docs/cli.md`` from the commands themselves.

``python -m docs.cli_reference`` replaces what stands behind the marker; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from zvae_tiled.cli.app import zvae

PAGE = Path(__file__).parent / "cli.md"
MARKER = "<!-- from here on written by docs/cli_reference.py -->\n"


def main() -> None:
    """Write the page."""
    head = PAGE.read_text().partition(MARKER)[0]
    PAGE.write_text(head + MARKER + reference())


def reference() -> str:
    """Return all commands with all their options, as Markdown."""
    return "".join(line + "\n" for command in zvae.commands.values() for line in _command(command))


def _command(command: click.Command) -> Iterator[str]:
    parent = zvae.context_class(zvae, info_name="zvae", **zvae.context_settings)
    context = command.context_class(command, parent, command.name)
    yield f"\n## {context.command_path}\n"
    yield f"`{' '.join([context.command_path, *command.collect_usage_pieces(context)])}`\n"
    yield " ".join(f"{command.help}".split()) + "\n"
    yield "| option | |"
    yield "|---|---|"
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is not None and isinstance(param, click.Option):
            names, text = (part.replace("|", "\\|") for part in record)
            yield f"| `{names}` | {' '.join(text.split())} |"


if __name__ == "__main__":
    main()
