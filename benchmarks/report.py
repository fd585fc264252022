"""``python -m benchmarks report``: figures between the markers of the pages that show them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks import sections
from benchmarks.charts import charts

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "performance.md", ROOT / "README.md")

SECTIONS: dict[str, Callable[[], str]] = {
    "peers": sections.peers,
    "readme": sections.readme,
    "cpu": sections.cpu,
    "paths": sections.paths,
    "speed": sections.speed,
    "quality": sections.qualities,
    "scale": sections.scale,
    "promises": sections.promises,
    "limit": sections.limit,
    "memory": sections.memory,
    "sent": sections.sent,
}

MARKED = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def write_report() -> None:
    """Write the figures."""
    for name, chart in charts().items():
        (ROOT / "docs" / name).write_text(chart)
    for page in PAGES:
        page.write_text(filled(page.read_text()))


def filled(text: str) -> str:
    """Return a page with its figures; what stands outside of the markers is left as it is."""
    return MARKED.sub(lambda found: f"{found[1]}{SECTIONS[found[2]]()}\n{found[3]}", text)
