"""Sections on bounds: predictions of plans, limits of a machine, and measured memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from benchmarks import store
from benchmarks.case import Z_IMAGE
from benchmarks.suites.process import is_kept, predicted, room_left
from benchmarks.tables import NOTHING, amount, budget, of_rows, quality, rate, size, sizes, table, times, where
from benchmarks.work import memory_floor
from zvae_tiled.inputs.arrays import OUTPUT_TYPES
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.report.figures import Row


def promises() -> str:
    """Return the section on plans for pictures and machines of all sizes."""
    rows = store.read("promises")
    parts = []
    for device in dict.fromkeys(row.environment["device"] for row in rows):
        mine = [row for row in rows if row.environment["device"] == device]
        machines = list(dict.fromkeys(row.tool for row in mine))
        cells = {(row.width, row.tool): _promise(row) for row in mine}
        lines = [
            [f"{pixels}²", _work(mine, pixels), *(cells[pixels, machine] for machine in machines)]
            for pixels in sizes(mine)
        ]
        parts += [f"On {device}:", table(["picture", "PFLOP", *machines], lines)]
    return "\n\n".join([*parts, where(rows)]) if rows else NOTHING


def _work(rows: Sequence[Row], pixels: int) -> str:
    """Return the fewest operations of any plan for this size, in PFLOP."""
    return f"{min(row.flops for row in rows if row.width == pixels and row.flops) / 1e15:,.2g}"


def _promise(row: Row) -> str:
    return (
        "no exact plan"
        if row.predicted_peak is None
        else "; ".join(filter(None, (amount(row.predicted_peak), row.note)))
    )


def process() -> str:
    """Return the section on the growth of processes, compared with predictions."""
    rows = store.read("process")
    if not rows:
        return NOTHING
    kinds: dict[str, Callable[[Row], bool]] = {
        "decodes into an array": lambda row: row.tool.startswith("decode, ") and row.tool[8:] in OUTPUT_TYPES,
        "decodes into a file": lambda row: row.tool.startswith("decode, ."),
        "streams": lambda row: row.tool == "decode, stream",
        "encodes": lambda row: row.tool.startswith("encode"),
        "all of quality exact": lambda row: row.quality.startswith("exact"),
        "all of quality tiles or stream": lambda row: not row.quality.startswith("exact"),
        "all": lambda row: row.suite == "process",
    }
    return f"{table(_HEADS, (_kind(name, list(filter(kind, rows))) for name, kind in kinds.items()))}\n\n{where(rows)}"


_HEADS = ("trials", "number", "above predicted", "predicted", "process / predicted", "least room left")


def _kind(name: str, rows: Sequence[Row]) -> list[str]:
    peaks = sorted(map(predicted, rows))
    share = statistics.median((row.footprint or 0) / predicted(row) for row in rows)
    return [
        name,
        str(len(rows)),
        str(sum(not is_kept(row) for row in rows)),
        f"{amount(peaks[0])} to {amount(peaks[-1])}",
        f"{share:.2f}×",
        amount(min(map(room_left, rows))),
    ]


def limit() -> str:
    """Return the section on the ceiling of this machine, and the share that a decode reaches."""
    rows = store.read("limit")
    if not rows:
        return NOTHING
    # A ceiling needs torch's product: MLX's own bfloat16 product on a CPU uses no bfloat16 unit.
    ceilings = {
        dtype: max(rate(row) for row in rows if "product" in row.tool and row.dtype == dtype)
        for dtype in {row.dtype for row in rows if "torch" in row.tool and row.outcome == "ok"}
    }
    shown = of_rows(
        rows,
        {
            "what": lambda row: row.tool if "product" in row.tool else f"decode of {size(row)}, {budget(row)} budget",
            "type": lambda row: row.dtype,
            "GFLOP/s": lambda row: f"{rate(row) / 1e9:,.0f}" if row.seconds else row.outcome,
            "of the ceiling": lambda row: (
                f"{rate(row) / ceilings[row.dtype]:.0%}" if row.seconds and row.dtype in ceilings else "–"
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


def memory() -> str:
    """Return the section on the memory suite: predicted and measured peaks."""
    rows = store.read("memory")
    shown = of_rows(
        rows,
        {
            "VAE": lambda row: row.family + (", encode" if row.tool == "encode" else ""),
            "picture": size,
            "type": lambda row: row.dtype,
            "quality": quality,
            "budget": budget,
            "kernels": lambda row: row.environment["kernels"],
            "allocator": lambda row: _exact(row.allocator_peak),
            "predicted for arrays": lambda row: _exact(_arrays(row)),
            "measured / predicted": lambda row: times(row.allocator_peak, _arrays(row)),
        },
    )
    return f"Bytes.\n\n{shown}\n\n{where(rows)}" if rows else NOTHING


def _arrays(row: Row) -> int | None:
    """Return what a plan predicts for the allocator. The rest is reserved for the process itself."""
    return None if row.predicted_peak is None else row.predicted_peak - PROCESS


def _exact(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
