"""Writes the table of modules in ``docs/architecture.md`` from the first line of each module's docstring.

``python -m docs.architecture_table`` replaces what stands between the markers; a test holds the two together.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parent / "architecture.md"
PACKAGE = Path(__file__).parent.parent / "zvae_tiled"
BEGIN = "<!-- from here on written by docs/architecture_table.py -->\n"
END = "<!-- end of the table -->\n"


def main() -> None:
    """Write the page."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(head + BEGIN + table() + END + rest.partition(END)[2])


def table() -> str:
    """Return all folders and modules, each with its first line, as Markdown."""
    rows = (f"| {name} | {text} |\n" for name, text in _rows(PACKAGE))
    return "| module | what it is |\n|---|---|\n" + "".join(rows)


def _rows(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the modules of a folder, then the folders in it, each followed by its own."""
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            yield f"`{path.relative_to(PACKAGE)}`", _first_line(path)
    for inner in sorted(path for path in folder.iterdir() if any(path.glob("*.py"))):
        start = inner / "__init__.py"
        yield f"**`{inner.relative_to(PACKAGE)}/`**", _first_line(start) if start.exists() else ""
        yield from _rows(inner)


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return text.partition("\n")[0].replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    main()
