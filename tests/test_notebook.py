"""docs/demo.ipynb has the cells of its script. They print what is stored, but for what depends on the machine."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest

from docs.demo_notebook import CELLS, PAGE, VARIES

STORED = json.loads(PAGE.read_text())["cells"]


def printed(cell: dict[str, Any]) -> str:
    """What a stored cell has printed."""
    return "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")


def test_the_notebook_has_the_cells_of_its_script() -> None:
    texts = [cell if isinstance(cell, str) else cell[0] for cell in CELLS]
    assert ["".join(cell["source"]) for cell in STORED] == texts, "run python -m docs.demo_notebook"
    assert PAGE.stat().st_size < 200_000


@pytest.mark.slow
def test_cells_run_again_print_what_is_stored() -> None:
    names: dict[str, Any] = {}
    for cell in STORED:
        if cell["cell_type"] == "code":
            code = "".join(cell["source"])
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(code, PAGE.name, "exec"), names)
            assert bool(out.getvalue()) == bool(printed(cell))
            assert cell["outputs"], "every cell shows something"
            if VARIES not in cell["metadata"].get("tags", ()):
                assert out.getvalue() == printed(cell)
