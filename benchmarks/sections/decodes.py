"""Sections on our own decodes: paths, full decode and bands, qualities, scale."""

from __future__ import annotations

from benchmarks import store
from benchmarks.case import Z_IMAGE
from benchmarks.charts import FILES
from benchmarks.suites.scale import WIDE
from benchmarks.tables import (
    NOTHING,
    amount,
    budget,
    decibel,
    of_rows,
    quality,
    seams,
    seconds,
    section,
    size,
    slower,
    small,
    table,
    times,
    where,
)
from benchmarks.work import attention_flops, memory_floor
from zvae_tiled.devices.native_cpu.choice import MLX
from zvae_tiled.report.figures import Row


def paths() -> str:
    """Return the section on the same decode by every path."""
    rows = [row for row in store.read("paths") if row.outcome == "ok"]
    if not any(row.environment["kernels"] == MLX for row in rows):
        return NOTHING
    names = list(dict.fromkeys(row.environment["kernels"] for row in rows))
    lines = []
    for shape, dtype in dict.fromkeys((size(row), row.dtype) for row in rows):
        mine = {row.environment["kernels"]: row for row in rows if (size(row), row.dtype) == (shape, dtype)}
        slowest = mine.get(MLX)
        cells = [f"{seconds(mine[name])}, {slower(mine[name], slowest)}" if name in mine else "–" for name in names]
        lines.append([f"{shape}, {dtype}", *cells])
    return f"{table(['seconds (spread), ratio to MLX', *names], lines)}\n\n{where(rows)}"


def speed() -> str:
    """Return the section that compares the full decode with bands."""
    rows = store.read("speed")
    full = {(*_task(row), row.width): row for row in rows if row.tool.startswith("full")}

    def whole(row: Row) -> Row | None:
        return full.get((*_task(row), row.width))

    return section(
        rows,
        {
            "picture": size,
            "type": lambda row: row.dtype,
            "tool": lambda row: row.tool,
            "budget": lambda row: budget(row) if row.predicted_peak else "–",
            "seconds (spread)": seconds,
            "time": lambda row: slower(row, whole(row)),
            "allocator": lambda row: amount(row.allocator_peak),
            "peak": lambda row: times(row.allocator_peak, getattr(whole(row), "allocator_peak", None)),
            "predicted": lambda row: amount(row.predicted_peak),
            "process": lambda row: amount(row.footprint),
        },
    )


def _task(row: Row) -> tuple[bool, str]:
    return "encode" in row.tool, row.dtype


def qualities() -> str:
    """Return the section on each quality for one picture."""
    rows = store.read("quality")
    return section(
        rows,
        {
            "quality": quality,
            "picture": size,
            "type": lambda row: row.dtype,
            "seconds (spread)": seconds,
            "allocator": lambda row: amount(row.allocator_peak),
            "predicted": lambda row: amount(row.predicted_peak),
            "max error": lambda row: row.note or small(row.max_error),
            "PSNR": decibel,
            "seams, reference's": seams,
        },
    )


def scale() -> str:
    """Return the section on time and memory against the number of pixels."""
    rows = sorted(store.read("scale"), key=lambda row: (row.tool == WIDE, row.width * row.height))
    shown = of_rows(
        rows,
        {
            "picture": size,
            "budget": lambda row: (
                row.tool if row.tool == WIDE else f"{budget(row)}{', in tiles' if _tiled(row) else ''}"
            ),
            "seconds": seconds,
            "µs a pixel": lambda row: f"{1e6 * row.seconds / (row.width * row.height):.1f}" if row.seconds else "–",
            "MFLOP a pixel": lambda row: f"{row.flops / (row.width * row.height) / 1e6:.2f}" if row.flops else "–",
            "attention's share": lambda row: (
                f"{attention_flops(Z_IMAGE, row.height // 8, row.width // 8) / row.flops:.1%}"
                if row.flops and not _tiled(row)
                else "–"
            ),
            "allocator": lambda row: amount(row.allocator_peak),
            "predicted": lambda row: amount(row.predicted_peak),
            "floor": lambda row: times(memory_floor(Z_IMAGE, row.width // 8, row.dtype), row.allocator_peak),
            "process": lambda row: amount(row.footprint),
        },
    )
    plots = "\n\n".join(f"![{title}]({file})" for file, title in FILES.items())
    return f"{plots}\n\n{shown}\n\n{where(rows)}" if rows else NOTHING


def _tiled(row: Row) -> bool:
    return row.quality.startswith("tiles")
