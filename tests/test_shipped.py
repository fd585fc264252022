"""What a wheel brings along: not too much, each file with its licence, and one version everywhere."""

from __future__ import annotations

import io
import re
import runpy
import tomllib
import zipfile

import pytest

from tests.support.running import ROOT
from zvae_tiled import __version__
from zvae_tiled.demo import FOLDER

LARGEST = 8_000_000
"""Bytes of a wheel: what everyone downloads. Raise it only for something that everyone needs."""


def packed() -> int:
    """The bytes of a wheel of this tree, if its library was built, without the few of its own description."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in (ROOT / "zvae_tiled").rglob("*"):
            if file.is_file() and file.suffix != ".pyc":
                wheel.write(file)
    return len(buffer.getvalue())


@pytest.mark.slow
def test_a_wheel_is_small() -> None:
    assert packed() <= LARGEST
    stated = re.search(r"^largest=(\d+)", (ROOT / "scripts" / "wheel").read_text(), re.M)
    assert stated is not None
    assert int(stated[1]) == LARGEST  # of the wheel itself


def test_every_bundled_file_has_a_licence() -> None:
    named = (FOLDER / "LICENSE.md").read_text()
    there = [path for path in FOLDER.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc", ".md"}]
    assert there
    assert {str(path.relative_to(FOLDER)) for path in there} == set(re.findall(r"`([\w/]+\.\w+)`[,| ]", _first(named)))
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert str((FOLDER / "LICENSE.md").relative_to(ROOT)) in settings["project"]["license-files"]


def _first(table: str) -> str:
    """The first column, where the files are."""
    return "\n".join(f"{row.split('|')[1]} " for row in table.splitlines() if row.startswith("| `"))


def test_one_version_is_named_everywhere() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    headings = re.findall(r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == __version__
    assert re.fullmatch(r" - \d{4}-\d\d-\d\d", headings[1][1])


def described(monkeypatch: pytest.MonkeyPatch, readme: str) -> str:
    """What a package index shows of a README."""
    with monkeypatch.context() as patch:
        patch.setattr("setuptools.setup", lambda **options: None)
        patch.chdir(ROOT)
        description = runpy.run_path("setup.py")["description"]
    return str(description(readme))


def links(text: str) -> list[str]:
    """Where the links and pictures of Markdown lead."""
    return re.findall(r"(?:\]\(\s*<?|^\[[^]]+\]:\s*|(?:src|href)=[\"']?)([^)\"'\s>]+)", text, re.M)


def test_what_a_package_index_shows_of_readme_leads_nowhere_inside_the_repository(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readme = (ROOT / "README.md").read_text()
    shown = described(monkeypatch, readme)
    assert len(links(readme)) > 20, "this would see them"
    assert not [link for link in links(shown) if not link.startswith("https://")]
    assert "![" not in shown
    assert shown.startswith("# zvae_tiled\n")
    assert shown.count("```") == readme.count("```")
    kept = "[a page](https://elsewhere.org/) and ![a picture](https://elsewhere.org/a.png)\n"
    assert described(monkeypatch, kept) == kept
