"""docs/environment.md names the environment variables that the code reads: all of them, and no others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.running import ROOT

PAGE = (ROOT / "docs" / "environment.md").read_text()
RUNNING, _, BUILDING = PAGE.partition("## When it is built and tested")


def rows(text: str) -> set[str]:
    """The variables in the first column of the tables."""
    return set(re.findall(r"^\| `(\w+)` \|", text, re.M))


def variables(path: Path) -> Iterator[str]:
    """The variables that a file reads or sets through `os.environ`, also by the name of a constant of that file.

    Raises:
        AssertionError: It uses the environment in a way that this test does not understand.
    """
    text = path.read_text()
    if "environ" not in text and "getenv" not in text:
        return
    tree = ast.parse(text)
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    understood = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="environ") as seen), args=[name, *_]):
                pass
            case ast.Subscript(value=ast.Attribute(attr="environ") as seen, slice=name):
                pass
            case ast.Compare(left=name, comparators=[ast.Attribute(attr="environ") as seen]):
                pass
            case _:
                continue
        understood.add(seen)
        yield str(name.value if isinstance(name, ast.Constant) else constants[ast.unparse(name)])
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")]
    assert not [f"{path}:{node.lineno}" for node in used if node not in understood]
    assert not re.search(r"from os import .*(environ|getenv)", text), path


def test_the_variables_of_the_package_are_on_the_page() -> None:
    unset = ROOT / "zvae_tiled" / "cli" / "variables.py"  # it unsets what others read, by the name in their messages
    sources = [ROOT / "zvae.py", *(path for path in (ROOT / "zvae_tiled").rglob("*.py") if path != unset)]
    assert rows(RUNNING) == {name for path in sources for name in variables(path)}
    assert not [path for path in (ROOT / "native").rglob("*.[ch]*") if "getenv" in path.read_text()]


def test_the_variables_of_builds_and_tests_are_on_the_page() -> None:
    scripts = [path for folder in ("scripts", ".ci") for path in (ROOT / folder).iterdir()]
    named = {name for path in scripts for name in re.findall(r"\bZVAE_\w+(?==)", path.read_text())}
    read = {*variables(ROOT / "setup.py"), *variables(ROOT / "tests" / "test_real.py")}
    assert rows(BUILDING) == read
    assert named <= rows(PAGE), "what a script sets is read somewhere"
