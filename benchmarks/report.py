"""``python -m benchmarks report``: writes figures between the markers of the pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.charts import charts
from benchmarks.sections import bounds, decodes, families, large, machines, races

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "performance.md")

SECTIONS: dict[str, Callable[[], str]] = {
    "peers": races.peers,
    "families": families.families,
    "reference": races.reference,
    "ends": races.ends,
    "large": large.large,
    "large_gpu": large.large_gpu,
    "glance": races.glance,
    "cpu": races.cpu,
    "paths": decodes.paths,
    "speed": decodes.speed,
    "quality": decodes.qualities,
    "scale": decodes.scale,
    "promises": bounds.promises,
    "process": bounds.process,
    "limit": bounds.limit,
    "memory": bounds.memory,
    "sent": machines.sent,
}

MARKED = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def write_report() -> None:
    """Write the plots, and the figures of all pages."""
    for name, chart in charts().items():
        (ROOT / "docs" / name).write_text(chart)
    for page in PAGES:
        page.write_text(filled(page.read_text()))


def filled(text: str) -> str:
    """Return a page with its figures. Text outside of the markers is not changed."""
    return MARKED.sub(lambda match: f"{match[1]}{SECTIONS[match[2]]()}\n{match[3]}", text)
