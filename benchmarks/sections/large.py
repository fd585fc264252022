"""Section on pictures that are really large: time, memory and disk; shift of colours and seams of tiles."""

from __future__ import annotations

from benchmarks import store
from benchmarks.tables import Cell, amount, budget, decibel, quality, seams, section, size
from zvae_tiled.report.figures import Row
from zvae_tiled.wording import duration


def large() -> str:
    """Return the section on a CPU."""
    return _section("cpu", {"process": lambda row: amount(row.footprint or row.predicted_peak)})


def large_gpu() -> str:
    """Return the section on a GPU, whose memory is what the tool's allocator took of the card."""
    return _section("cuda", {"card": lambda row: amount(row.allocator_peak or row.predicted_peak), "process": _process})


def _section(device: str, memory: dict[str, Cell]) -> str:
    return section(
        sorted(store.read(store.named("large", device)), key=lambda row: row.width),
        {
            "tool": lambda row: row.tool,
            "picture": size,
            "type": lambda row: row.dtype,
            "quality": quality,
            "budget": lambda row: budget(row) if row.predicted_peak else "–",
            "time": _time,
            **memory,
            "disk": lambda row: amount(row.disk),
            "PSNR or remark": lambda row: row.note or decibel(row),
            "colour shift": _shift,
            "seams, reference's": seams,
        },
    )


def _process(row: Row) -> str:
    return amount(row.footprint)


def _time(row: Row) -> str:
    """Return the time in the unit that fits it, or the outcome if there is none."""
    return row.outcome if row.seconds is None else duration(row.seconds)


def _shift(row: Row) -> str:
    """Return the largest change of a tile's mean colour, in levels of 255."""
    return "–" if row.shift is None else f"{255 * row.shift:.1f} levels"
