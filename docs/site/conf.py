"""How Sphinx makes the site of README, docs and docstrings. `scripts/site` starts it, on a copy of the repository."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from navigation import rest, toctrees

from zvae_tiled import __version__

project = "zvae_tiled"
author = "The zvae_tiled founders"
version = release = __version__
root_doc = "index"  # a copy of README
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
include_patterns = ["*.md", "docs/**.md", "docs/api/*.rst", "tests/README.md", "training/*.md", "zvae_tiled/demo/*.md"]

myst_heading_anchors = 4
highlight_language = "text"  # of literal blocks in docstrings
default_role = "py:obj"  # in docstrings: `Plan` leads to the class of this name
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_ivar = False
add_module_names = False

html_theme = "furo"
html_title = f"zvae_tiled {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

FILE_NAMED = re.compile(r"\[(?:[\w-]+/)*[\w-]+\.md\](\([^)]*\))")
"""A link whose text is the name of the file that it leads to."""


def setup(app: Any) -> None:
    """Let `_adapted` see each page before it is read."""
    app.connect("source-read", _adapted)


def _adapted(app: Any, page: str, source: list[str]) -> None:
    """Show the titles of pages in place of their files' names, and add the navigation to the first page."""
    source[0] = FILE_NAMED.sub(r"[]\1", source[0])
    if page == root_doc:
        source[0] += toctrees(rest(app.env.found_docs - {root_doc}))
