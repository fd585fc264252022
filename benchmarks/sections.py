"""What docs/benchmarks.md shows of each suite: a section is Markdown made from rows, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import store
from benchmarks.case import Z_IMAGE
from benchmarks.charts import FILES
from benchmarks.suites.scale import WIDE
from benchmarks.tables import (
    amount,
    budget,
    decibel,
    of_rows,
    quality,
    seams,
    seconds,
    size,
    small,
    table,
    times,
    where,
)
from benchmarks.work import attention_flops, memory_floor
from zvae_tiled.kernels.native import MLX
from zvae_tiled.selfbench import Row

NOTHING = "Not run yet."


def peers() -> str:
    """Every race, a table a size."""
    rows = store.read("peers")
    parts = []
    for pixels in _sizes(rows):
        race = [row for row in rows if row.width == pixels]
        parts += [f"### {pixels}²", race_table(race)]
    return "\n\n".join([*parts, where(rows)]) if rows else NOTHING


def race_table(race: Sequence[Row]) -> str:
    """One race."""
    ours = next((row for row in race if row.tool == "zvae_tiled" and row.dtype == "bfloat16"), None)
    return of_rows(
        race,
        {
            "tool": _racer,
            "type": lambda row: row.dtype,
            "seconds (spread)": seconds,
            "time": lambda row: times(row.seconds, ours.seconds if ours else None),
            "process": lambda row: amount(row.footprint),
            "allocator": lambda row: amount(row.allocator_peak),
            "predicted": lambda row: amount(row.predicted_peak),
            "max error": lambda row: row.note or small(row.max_error),
            "PSNR": decibel,
            "seams, reference's": seams,
        },
    )


def _racer(row: Row) -> str:
    named = budget(row)
    return row.tool if named in ("ample", "least") else f"{row.tool}, {named} budget"


def readme() -> str:
    """The largest race, in few columns."""
    rows = store.read("peers")
    sizes = {row.width for row in rows if row.tool.startswith("mflux, tiles") and row.outcome == "ok"}
    largest = max(sizes, default=max((row.width for row in rows), default=0))
    race = [row for row in rows if row.width == largest and row.dtype == "bfloat16"]
    if not race:
        return NOTHING
    shown = of_rows(
        race,
        {
            f"{largest}², bfloat16": _racer,
            "seconds": lambda row: seconds(row).partition(" (")[0] if row.seconds else row.outcome,
            "memory of the process": lambda row: amount(row.footprint),
            "max error": lambda row: small(row.max_error),
            "PSNR": decibel,
            "seams, reference's": seams,
        },
    )
    first = race[0].environment
    return (
        f"{shown}\n\n{first['processor']}, {first['cores']} cores, {first['day']}: a CPU. Method: docs/benchmarks.md."
    )


def cpu() -> str:
    """Bands beside diffusers' full decode."""
    rows = store.read("peers")
    whole = {(row.width, row.dtype): row for row in rows if row.tool == "diffusers, full"}
    bands = [row for row in rows if row.tool == "zvae_tiled" and (row.width, row.dtype) in whole]
    shown = of_rows(
        bands,
        {
            "picture": size,
            "type": lambda row: row.dtype,
            "diffusers": lambda row: seconds(whole[row.width, row.dtype]),
            "process": lambda row: amount(whole[row.width, row.dtype].footprint),
            "budget": budget,
            "zvae_tiled": seconds,
            "its process": lambda row: amount(row.footprint),
            "time": lambda row: times(row.seconds, whole[row.width, row.dtype].seconds),
            "memory": lambda row: times(row.footprint, whole[row.width, row.dtype].footprint),
        },
    )
    return f"{shown}\n\n{where([*whole.values(), *bands])}" if bands else NOTHING


def paths() -> str:
    """The same decode by every path."""
    rows = store.read("paths")
    if not rows:
        return NOTHING
    names = list(dict.fromkeys(row.environment["kernels"] for row in rows))
    lines = []
    for shape, dtype in dict.fromkeys((size(row), row.dtype) for row in rows):
        mine = {row.environment["kernels"]: row for row in rows if (size(row), row.dtype) == (shape, dtype)}
        slowest = mine[MLX].seconds
        cells = [
            f"{seconds(mine[name])}, {times(mine[name].seconds, slowest)}" if name in mine else "–" for name in names
        ]
        lines.append([f"{shape}, {dtype}", *cells])
    return f"{table(['seconds (spread), to MLX', *names], lines)}\n\n{where(rows)}"


def speed() -> str:
    """The full decode beside bands."""
    rows = store.read("speed")
    full = {(*_task(row), row.width): row for row in rows if row.tool.startswith("full")}

    def beside(row: Row, field: str) -> str:
        whole = full.get((*_task(row), row.width))
        return times(getattr(row, field), getattr(whole, field) if whole else None)

    shown = of_rows(
        rows,
        {
            "picture": size,
            "type": lambda row: row.dtype,
            "tool": lambda row: row.tool,
            "budget": lambda row: budget(row) if row.predicted_peak else "–",
            "seconds (spread)": seconds,
            "time": lambda row: beside(row, "seconds"),
            "allocator": lambda row: amount(row.allocator_peak),
            "peak": lambda row: beside(row, "allocator_peak"),
            "predicted": lambda row: amount(row.predicted_peak),
            "process": lambda row: amount(row.footprint),
        },
    )
    return f"{shown}\n\n{where(rows)}" if rows else NOTHING


def _task(row: Row) -> tuple[bool, str]:
    return "encode" in row.tool, row.dtype


def qualities() -> str:
    """Each quality on one picture."""
    rows = store.read("quality")
    shown = of_rows(
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
    return f"{shown}\n\n{where(rows)}" if rows else NOTHING


def scale() -> str:
    """Time and memory against the number of pixels."""
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
            "of it attention": lambda row: (
                f"{attention_flops(Z_IMAGE, row.height // 8, row.width // 8) / row.flops:.1%}"
                if row.flops and not _tiled(row)
                else "–"
            ),
            "allocator": lambda row: amount(row.allocator_peak),
            "predicted": lambda row: amount(row.predicted_peak),
            "process": lambda row: amount(row.footprint),
        },
    )
    plots = "\n\n".join(f"![{title}]({file})" for file, title in FILES.items())
    return f"{plots}\n\n{shown}\n\n{where(rows)}" if rows else NOTHING


def _tiled(row: Row) -> bool:
    return row.quality.startswith("tiles")


def promises() -> str:
    """Plans for pictures and machines of all sizes."""
    rows = store.read("promises")
    parts = []
    for device in dict.fromkeys(row.environment["device"] for row in rows):
        mine = [row for row in rows if row.environment["device"] == device]
        machines = list(dict.fromkeys(row.tool for row in mine))
        cells = {(row.width, row.tool): _promise(row) for row in mine}
        lines = [[f"{pixels}²", *(cells[pixels, machine] for machine in machines)] for pixels in _sizes(mine)]
        parts += [f"On {device}:", table(["picture", *machines], lines)]
    return "\n\n".join([*parts, where(rows)]) if rows else NOTHING


def _promise(row: Row) -> str:
    return (
        "no exact plan"
        if row.predicted_peak is None
        else "; ".join(filter(None, (amount(row.predicted_peak), row.note)))
    )


def _sizes(rows: Sequence[Row]) -> list[int]:
    return sorted({row.width for row in rows})


def limit() -> str:
    """The ceiling of this machine, and the decode's share of it."""
    rows = store.read("limit")
    if not rows:
        return NOTHING
    ceilings = {
        dtype: max((_rate(row) for row in rows if "product" in row.tool and row.dtype == dtype), default=0.0)
        for dtype in ("float32", "bfloat16")
    }
    shown = of_rows(
        rows,
        {
            "what": lambda row: row.tool if "product" in row.tool else f"decode of {size(row)}, {budget(row)} budget",
            "type": lambda row: row.dtype,
            "GFLOP/s": lambda row: f"{_rate(row) / 1e9:,.0f}" if row.seconds else row.outcome,
            "of the ceiling": lambda row: (
                f"{_rate(row) / ceilings[row.dtype]:.0%}" if row.seconds and ceilings[row.dtype] else "–"
            ),
            "allocator": lambda row: amount(row.allocator_peak),
            "floor": lambda row: amount(memory_floor(Z_IMAGE, row.width // 8, row.dtype)) if row.width else "–",
            "floor's share": lambda row: (
                f"{memory_floor(Z_IMAGE, row.width // 8, row.dtype) / row.allocator_peak:.0%}"
                if row.allocator_peak
                else "–"
            ),
        },
    )
    return f"{shown}\n\n{where(rows)}"


def _rate(row: Row) -> float:
    return row.flops / row.seconds if row.flops and row.seconds else 0.0


def memory() -> str:
    """The matrix: predicted beside measured."""
    rows = store.read("memory")
    shown = of_rows(
        rows,
        {
            "VAE": lambda row: row.family + (", encode" if row.tool == "encode" else ""),
            "picture": size,
            "type": lambda row: row.dtype,
            "quality": quality,
            "budget": budget,
            "allocator": lambda row: _exact(row.allocator_peak),
            "predicted": lambda row: _exact(row.predicted_peak),
            "measured / predicted": lambda row: times(row.allocator_peak, row.predicted_peak),
        },
    )
    return f"Bytes.\n\n{shown}\n\n{where(rows)}" if rows else NOTHING


def _exact(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def sent() -> str:
    """What users measured on other machines."""
    parts = []
    for environment, rows in store.sent():
        name = environment.get("device_name", environment.get("processor"))
        shown = of_rows(
            [row for row in rows if row.suite == "self"],
            {
                "picture": size,
                "budget": lambda row: "ample" if row.budget is None else amount(row.budget),
                "seconds (spread)": seconds,
                "allocator": lambda row: amount(row.allocator_peak),
                "predicted": lambda row: amount(row.predicted_peak),
            },
        )
        rates = ", ".join(f"{row.dtype} {_rate(row) / 1e9:,.0f} GFLOP/s" for row in rows if row.suite == "limit")
        head = f"**{name}**, {environment['device']}, {environment['memory'] / 1e9:.0f} GB; products: {rates}"
        parts += [f"{head}; {environment['day']}, version {environment['version']}:", shown]
    return "\n\n".join(parts) or "None yet."
