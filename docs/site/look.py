"""Opens a built site in a headless Chromium without a network: search finds words, and every page can be read.

Each page is opened on a desktop and on a phone, light and dark: it is no wider than the window, and text stands out.

``python -m docs.site.look FOLDER`` prints what is wrong, and ends with 1 if there is anything. Chromium opens the files
themselves, so it also sees what a script would load from elsewhere.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from tests.peers.browser import Browser

WORDS = {
    "spill_folder": "docs/api/vae.html",
    "seams": "docs/troubleshooting.html",
    "ToleranceError": "docs/api/errors.html",
}
"""Words to search for, each with a page that must be found."""

DESKTOP, PHONE = (1280, 900), (390, 844)

FOUND = """new Promise((resolve, reject) => {
    const late = setTimeout(() => reject("search finds nothing that leads to " + PAGE), 10000);
    const again = setInterval(() => {
        const found = [...document.querySelectorAll("#search-results li a")].some((link) => link.href.includes(PAGE));
        if (found) { clearTimeout(late); clearInterval(again); resolve(); }
    }, 50);
})"""
"""Is fulfilled when the results of a search name a page."""

SOUND = """(async () => {
    const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
    const outside = loaded.filter((name) => !name.startsWith("file:") && !name.startsWith("data:"));
    if (outside.length) throw "loads " + outside;
    if (document.documentElement.scrollWidth > innerWidth) throw "is wider than the window";
    const light = (color) => {
        const [r, g, b] = color.match(/[\\d.]+/g).map((level) => (level / 255) ** 2.2);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const { color, backgroundColor } = getComputedStyle(document.body);
    const [text, paper] = [light(color), light(backgroundColor)];
    if (DARK !== paper < 0.5) throw "is " + backgroundColor;
    if ((Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05) < 7) throw `is ${color} on ${backgroundColor}`;
    if ([...document.images].some((image) => !image.naturalWidth)) throw "has a picture that is not shown";
})()"""
"""Fails for a page that loads what is not a file, scrolls sideways, is light where it is to be `DARK`, is hard to read
(WCAG asks for a contrast of 7), or lacks a picture."""


def faults(root: Path, browser: Browser) -> Iterator[str]:
    """Yield what is wrong in a built site, a line each."""
    for word, page in WORDS.items():
        yield from fault(
            browser, f"{(root / 'search.html').as_uri()}?q={word}", DESKTOP, f"const PAGE = {page!r}; {FOUND}"
        )
    for file in sorted(root.rglob("*.html")):
        for size, dark in product((DESKTOP, PHONE), (False, True)):
            yield from fault(browser, file.as_uri(), size, SOUND, dark)


def fault(browser: Browser, address: str, size: tuple[int, int], ready: str, dark: bool = False) -> Iterator[str]:
    """Yield what keeps a page of this size from being `ready`, if anything does."""
    try:
        browser.visit(address, *size, f"const DARK = {str(dark).lower()}; {ready}", dark)
    except AssertionError as wrong:
        yield f"{address}, {size[0]} pixels wide, {'dark' if dark else 'light'}: {wrong}"


def main() -> int:
    """Print the faults."""
    program = shutil.which("chromium")
    if program is None:
        print("NOT RUN: search, widths and loads in a browser need Debian's package chromium")
        return 0
    with tempfile.TemporaryDirectory() as profile, Browser(program, Path(profile)) as browser:
        found = [*faults(Path(sys.argv[1]).resolve(), browser)]
    print(*found, f"in Chromium: {len(WORDS)} searches, {len(found)} faults", sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
