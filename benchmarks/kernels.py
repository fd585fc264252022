"""Measures the native CPU kernels: each Step beside ceiling and oneDNN, and where a decode's time goes.

    python -m benchmarks.kernels [--peers-python PYTHON] [--dtype TYPE ...] [--write]

It prints two tables for each type. `--write` writes those of both types between the marks of docs/performance.md.
``ZVAE_KERNELS`` chooses another path.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.peer import Peer, started
from benchmarks.profile import ATTENTION, OTHERS, SQUARES
from benchmarks.shares import shares
from benchmarks.steps import ceiling, of_squares, steps
from zvae_tiled.devices.native_cpu.choice import native_path, native_status
from zvae_tiled.devices.native_cpu.library import open_library
from zvae_tiled.devices.native_cpu.race import TYPES

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
MARKS = ("<!-- kernels: begin -->\n", "<!-- kernels: end -->")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--peers-python", metavar="PYTHON", help="an interpreter that has torch. Default: no torch")
    parser.add_argument("--dtype", choices=list(TYPES), action="append", help="one type. Default: both")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md")
    args = parser.parse_args()
    if args.write and args.dtype:
        parser.error("--write writes the tables of both types: remove --dtype")
    with started(args.peers_python) if args.peers_python else nullcontext() as peer:
        text = "\n\n".join(tables(dtype, peer) for dtype in args.dtype or TYPES)
        source = describe() + (f", torch {peer.version}" if peer else "")
    text = f"{text}\n\n({source})"
    print(text)
    if args.write:
        PAGE.write_text(filled(PAGE.read_text(), text))


def tables(dtype: str, peer: Peer | None) -> str:
    """Return the two tables of a type."""
    library, status = open_library(), native_status()
    path = native_path(status, dtype == "bfloat16")
    if isinstance(library, str) or path is None:
        sys.exit(f"there are no native kernels to measure: {status.reason}")
    limit = ceiling(library, path.name)
    squares = limit * of_squares(path)
    print(f"{dtype} by {path.name}", file=sys.stderr)
    each = steps(path, TYPES[dtype], limit, peer.seconds if peer else None)
    ceilings = {SQUARES: squares, OTHERS: limit, ATTENTION: limit}
    decode = shares(dtype, {kind: rate * status.threads for kind, rate in ceilings.items()})
    title = f"### {dtype}, path `{path.name}`\n\nRegisters alone reach {limit / 1e9:,.0f} GFLOP/s on one thread"
    title += f", {squares / 1e9:,.0f} in int16." if squares > limit else "."
    return f"{title}\n\n{each}\n\nA decode on {status.threads} threads, with everything kept:\n\n{decode}"


def filled(page: str, text: str) -> str:
    """Return the page with other text between its marks."""
    head, begin, rest = page.partition(MARKS[0])
    _, end, tail = rest.partition(MARKS[1])
    return f"{head}{begin}\n{text}\n\n{end}{tail}"


if __name__ == "__main__":
    main()
