"""Checks a built site: each link leads to a page and a heading that are there, and nothing is loaded from elsewhere.

``python -m docs.site.check FOLDER`` prints what is wrong, and ends with 1 if there is anything.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {
    **dict.fromkeys(
        ("audio", "embed", "iframe", "img", "input", "script", "source", "track", "video"), ("src", "srcset", "poster")
    ),
    "link": ("href",),
    "object": ("data",),
    "use": ("href", "xlink:href"),
    "image": ("href", "xlink:href"),
}
"""Attributes, by tag, whose addresses a browser fetches by itself."""

NAMED = {"canonical", "next", "prev", "search", "index", "author", "help", "license"}
"""Values of `rel` with which a browser fetches nothing."""

IN_STYLES = re.compile(r"""(?:url\(|@import)\s*['"]?([^'")\s]+)""")
IN_SCRIPTS = re.compile(
    r"""(?:\bimport|\bfrom|fetch\(|importScripts\(|\.src\s*=|\.href\s*=|\.open\([^,)]*,)\s*\(?\s*(['"`](?:https?:)?//[^'"`]*)"""
)


class Page(HTMLParser):
    """A page's places, links and loads.

    Attributes:
        places: What a link may name behind ``#``.
        links: Addresses that a reader may follow.
        loads: Addresses that a browser fetches.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag names."""
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        self.loads += IN_STYLES.findall(given.get("style", ""))
        if tag == "a":
            self.links += [given["href"]] if "href" in given else []
        elif not set(given.get("rel", "").split()) & NAMED:
            for name in set(LOADS.get(tag, ())) & set(given):
                found = given[name].split(",") if name == "srcset" else [given[name]]
                self.loads += [part.split()[0] for part in found if part.strip()]


def faults(root: Path) -> list[str]:
    """Return what is wrong in the pages, styles and scripts below a folder, a line each."""
    root = root.resolve()
    pages = {file: Page(file) for file in sorted(root.rglob("*.html"))}
    loads = [(file, address) for file, page in pages.items() for address in page.loads]
    for suffix, pattern in (("css", IN_STYLES), ("js", IN_SCRIPTS), ("svg", IN_STYLES)):
        loads += [
            (file, found) for file in sorted(root.rglob(f"*.{suffix}")) for found in pattern.findall(file.read_text())
        ]
    outside = [f"{file}: loads {address}" for file, address in loads if is_outside(address)]
    inside = [
        (file, address) for file, address in loads if not is_outside(address) and not address.startswith(("data:", "#"))
    ]
    links = [(file, link) for file, page in pages.items() for link in page.links if not urlsplit(link).scheme]
    broken = [f"{file}: leads to {link}" for file, link in [*inside, *links] if not leads(file, link, pages)]
    return [*outside, *broken] if pages else [f"{root}: no page"]


def is_outside(address: str) -> bool:
    """Return whether an address names another host."""
    parts = urlsplit(address.strip("'\"`"))
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def leads(file: Path, link: str, pages: dict[Path, Page]) -> bool:
    """Return whether a relative link in a file leads to a file that is there, and to a place in it."""
    parts = urlsplit(link)
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    target = target / "index.html" if target.is_dir() else target
    place = unquote(parts.fragment)
    return target.is_file() and (not place or target not in pages or place in pages[target].places)


def main() -> int:
    """Print the faults."""
    root = Path(sys.argv[1])
    found = faults(root)
    print(*found, f"{root}: {sum(1 for _ in root.rglob('*.html'))} pages, {len(found)} faults", sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
