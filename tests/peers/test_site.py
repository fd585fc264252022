"""The site's checks in a browser find planted faults."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.site.look import FOUND, PHONE, SOUND, fault
from tests.peers.browser import Browser

BROWSER = shutil.which("chromium")

pytestmark = [pytest.mark.peers, pytest.mark.skipif(BROWSER is None, reason="needs chromium (.ci/run)")]

SHOWN = '<img src=\'data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>\'>'

PAPER = "<style>body { background: white }</style>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(str(BROWSER), tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        (f"<p>Sound.</p>{SHOWN}", None),
        ("<script src='https://elsewhere.invalid/a.js'></script>", "loads https://elsewhere.invalid/a.js"),
        (
            "<script>new Image().src = 'https://elsewhere.invalid/a.png'</script>",
            "loads https://elsewhere.invalid/a.png",
        ),
        ("<p style='width: 2000px'>Wide.</p>", "wider than the window"),
        ("<img src='absent.png'>", "a picture that is not shown"),
        ("<style>body { background: black; color: white }</style>", "is rgb(0, 0, 0)"),
        ("<style>body { color: gray }</style>", "is rgb(128, 128, 128) on rgb(255, 255, 255)"),
    ],
)
def test_a_page_is_sound_or_its_fault_is_named(
    page: str, problem: str | None, browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    file.write_text(f"<!doctype html>{PAPER}{page}")
    found = [*fault(browser, file.as_uri(), PHONE, SOUND)]
    assert len(found) == (problem is not None)
    assert all(str(problem) in each for each in found)


@pytest.mark.parametrize("leads_to", ["docs/found.html", "docs/other.html", None])
def test_a_search_that_does_not_find_its_page_is_a_fault(
    leads_to: str | None, browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "search.html"
    file.write_text(f"<ul id='search-results'>{f'<li><a href={leads_to}>found</a>' * bool(leads_to)}</ul>")
    soon = FOUND.replace("10000", "300")
    found = [*fault(browser, file.as_uri(), PHONE, f"const PAGE = 'docs/found.html'; {soon}")]
    assert bool(found) == (leads_to != "docs/found.html")
