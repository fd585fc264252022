"""The steps of ``docs/extending.md``, followed to the letter in a copy of the package.

A block under ``file:`` becomes that file, a ``diff`` under ``edit:`` changes that file where its old lines stand, and
a block under ``try:`` runs with the copy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.docs_blocks import Block, blocks

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "extending.md"


def sections() -> dict[str, str]:
    """The text of each section by its title, with the lines of the page."""
    lines = PAGE.read_text().split("\n")
    starts = [i for i, line in enumerate(lines) if line.startswith("## ")]
    return {lines[i][3:]: "\n".join(lines[i:end]) for i, end in zip(starts, [*starts[1:], None], strict=True)}


def edited(text: str, diff: str) -> str:
    """The text with the lines of a diff in place of the old ones, which must stand there once."""
    lines = diff.splitlines()
    old, new = ("".join(f"{line[1:]}\n" for line in lines if line[:1] in (" ", sign)) for sign in "-+")
    assert text.count(old) == 1, f"these lines stand there {text.count(old)} times:\n{old}"
    return text.replace(old, new)


def follow(block: Block, folder: Path) -> None:
    """Carry out one block."""
    path = folder / f"{block.note}"
    if block.kind == "file":
        assert not path.exists()
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.code)
    elif block.kind == "edit":
        path.write_text(edited(path.read_text(), block.code))
    else:
        assert block.kind == "try", f"{block.page.name}:{block.line}: a block without a comment"
        work = folder / "work"
        work.mkdir()
        command = [sys.executable, "-W", "error", "-c", block.code]
        kept = {name: value for name, value in os.environ.items() if name != "ZVAE_DEVICE"}  # a toy is no CPU
        done = subprocess.run(
            command, cwd=work, env={**kept, "PYTHONPATH": f"{folder}"}, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()


@pytest.mark.slow
@pytest.mark.parametrize("title", sections())
def test_every_step_works_to_the_letter(title: str, tmp_path: Path) -> None:
    text = sections()[title]
    steps = [block for block in blocks(PAGE) if block.code in text]
    assert [block.kind for block in steps].count("try") == 1
    shutil.copytree(ROOT / "zvae_tiled", tmp_path / "zvae_tiled", ignore=shutil.ignore_patterns("__pycache__"))
    for block in steps:
        follow(block, tmp_path)
    touched = {block.note for block in steps if block.kind != "try"}
    assert re.findall(r"It touches (\d+) files?\.", text) == [str(len(touched))]


def test_an_edit_that_does_not_fit_is_refused() -> None:
    assert edited("a\nb\nc\n", " a\n-b\n+x\n+y\n") == "a\nx\ny\nc\n"
    with pytest.raises(AssertionError, match="0 times"):
        edited("a\nc\n", "-b\n")
    with pytest.raises(AssertionError, match="2 times"):
        edited("b\nb\n", "-b\n")
