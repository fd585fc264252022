"""Lists the memory of every kind of operation on this device: predicted, measured, and their ratio.

    python -m benchmarks.workspace

`zvae calibrate` measures the same, and keeps only the largest ratio. Read here which operation has it.
"""

from __future__ import annotations

import sys

from benchmarks.machine import describe
from zvae_tiled.devices.calibrate import measured_steps


def main() -> None:
    """Print a table in Markdown, the largest ratio first."""
    bench = measured_steps(lambda line: print(line, file=sys.stderr))
    print(describe(), "\n")
    print("| operation | predicted | measured | ratio | ms |\n|---|---:|---:|---:|---:|")
    for each in sorted(bench.operations, key=lambda each: -each.measured / max(each.predicted, 1)):
        ratio, taken = (
            each.measured / max(each.predicted, 1),
            "" if each.seconds is None else f"{1e3 * each.seconds:.2f}",
        )
        print(f"| {each.name} | {each.predicted:,} | {each.measured:,} | {ratio:.2f} | {taken} |")


if __name__ == "__main__":
    main()
