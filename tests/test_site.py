"""The site: its reference has every public name, its navigation every page, and its checks find planted faults."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

import zvae_tiled
from docs.site.check import faults
from docs.site.navigation import GROUPS, rest, toctrees
from tests.support.running import ROOT

REFERENCE = "\n".join(path.read_text() for path in sorted((ROOT / "docs" / "api").glob("*.rst")))

WHOLE = """<link rel="canonical" href="https://elsewhere.org/"><link rel="stylesheet" href="style.css">
<h1 id="here">Here</h1> <a href="#here">here</a> <a href="other.html#there">there</a> <a href="https://elsewhere.org/">elsewhere</a>
<img src="data:image/png;base64,AAAA"><script src="script.js"></script>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text(WHOLE)
    (tmp_path / "other.html").write_text('<p id="there"><a href="index.html">back</a></p>')
    (tmp_path / "style.css").write_text("body { background: url('data:image/png;base64,AAAA') }")
    (tmp_path / "script.js").write_text("// from https://elsewhere.org/\nfetch('index.html')")
    return tmp_path


def test_a_whole_site_has_no_fault(site: Path) -> None:
    assert not faults(site)


@pytest.mark.parametrize(
    ("file", "planted"),
    [
        ("index.html", '<script src="https://elsewhere.org/a.js"></script>'),
        ("index.html", '<link rel="preconnect" href="//elsewhere.org">'),
        ("index.html", '<img srcset="style.css 1x, https://elsewhere.org/a.png 2x">'),
        ("index.html", '<p style="background: url(https://elsewhere.org/a.png)">'),
        ("index.html", '<img src="absent.png">'),
        ("index.html", '<a href="absent.html">'),
        ("index.html", '<a href="other.html#absent">'),
        ("style.css", "@import 'https://elsewhere.org/a.css';"),
        ("style.css", "@font-face { src: url(//elsewhere.org/a.woff2) }"),
        ("style.css", "p { background: url(absent.png) }"),
        ("script.js", "import('https://elsewhere.org/a.js')"),
        ("script.js", 'fetch("//elsewhere.org/a.json")'),
    ],
)
def test_a_planted_fault_is_found(site: Path, file: str, planted: str) -> None:
    with (site / file).open("a") as page:
        page.write(planted)
    (fault,) = faults(site)
    assert fault.startswith(f"{site / file}: ")


def test_an_empty_site_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path)


def test_every_public_name_is_in_the_reference_once() -> None:
    named, module = [], ""
    for directive, name in re.findall(
        r"^\.\. (currentmodule|automodule|autoclass|autofunction):: (\S+)$", REFERENCE, re.M
    ):
        if directive in ("currentmodule", "automodule"):
            module = name
        else:
            assert hasattr(import_module(module), name)
            named += [name] * (module == "zvae_tiled")
    of_its_page = {
        name for name in zvae_tiled.__all__ if hasattr(zvae_tiled.errors, name)
    }  # all errors, drawn as a tree
    assert sorted([*named, *of_its_page, "__version__"]) == sorted(zvae_tiled.__all__)


def test_every_page_is_in_the_navigation_once() -> None:
    pages = [path for pattern in ("*.md", "docs/**/*.md", "docs/api/index.rst") for path in ROOT.glob(pattern)]
    pages += [ROOT / "tests" / "README.md", *(ROOT / "training").glob("*.md"), ROOT / "zvae_tiled/demo/LICENSE.md"]
    names = {f"{path.relative_to(ROOT).with_suffix('')}" for path in pages} - {"README"}
    listed = [page for group in rest(names).values() for page in group]
    assert sorted(listed) == sorted(names)
    assert "docs/notes/proxy" in rest(names)["Notes"]
    assert toctrees(rest(names)).count("```{toctree}") == len(GROUPS)
