"""The order of the site's pages: README names them for readers of the repository, and this for those of the site."""

from __future__ import annotations

from collections.abc import Iterable

GROUPS = {
    "Begin": ["docs/quickstart", "docs/budget"],
    "Guides": [
        *(f"docs/guides/{name}" for name in ("diffusers", "mflux", "comfyui", "own-program", "services", "triton")),
        *("docs/guides/big-pictures", "docs/clusters", "docs/resume", "docs/recipes"),
    ],
    "Reference": [
        *("docs/cli", "docs/api/index", "docs/troubleshooting", "docs/environment"),
        *("docs/models", "docs/files", "docs/quality"),
    ],
    "Inside": [
        *("docs/how-it-works", "docs/exactness", "docs/architecture"),
        *("docs/benchmarks", "docs/performance", "docs/gpu", "docs/blas"),
    ],
    "Project": [
        *("docs/glossary", "docs/extending", "CONTRIBUTING", "tests/README", "training/README", "training/figures"),
        *("SECURITY", "CHANGELOG", "RELEASE", "zvae_tiled/demo/LICENSE"),
    ],
    "Notes": [],
}
"""Groups of pages. Those of `docs/notes/` are found, and so is each page that no group names: it ends "Inside"."""


def rest(pages: Iterable[str]) -> dict[str, list[str]]:
    """Return the groups with all of these pages in them."""
    named = {page for group in GROUPS.values() for page in group}
    others = sorted(page for page in pages if page not in named and not page.startswith("docs/api/"))
    notes = [page for page in others if page.startswith("docs/notes/")]
    found = {"Inside": [page for page in others if page not in notes], "Notes": notes}
    return {caption: [*group, *found.get(caption, [])] for caption, group in GROUPS.items()}


def toctrees(groups: dict[str, list[str]]) -> str:
    """Return the groups as MyST writes them."""
    trees = (
        "\n".join(["```{toctree}", ":hidden:", f":caption: {name}", *pages, "```"]) for name, pages in groups.items()
    )
    return "\n\n" + "\n\n".join(trees) + "\n"
