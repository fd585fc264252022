"""Lists the memory of every kind of operation on this device: predicted, measured, and their ratio.

    python -m benchmarks.workspace

`zvae calibrate` measures the same, and keeps only the largest ratio. Read here which operation has it.
"""

from __future__ import annotations

import sys

from benchmarks.machine import describe
from zvae_tiled.devices.calibrate import measured_peaks


def main() -> None:
    """Print a table in Markdown, the largest ratio first."""
    peaks = measured_peaks(lambda line: print(line, file=sys.stderr))
    print(describe(), "\n")
    print("| operation | predicted | measured | ratio |\n|---|---:|---:|---:|")
    for each in sorted(peaks.all, key=lambda each: -each.measured / max(each.predicted, 1)):
        ratio = each.measured / max(each.predicted, 1)
        print(f"| {each.name} | {each.predicted:,} | {each.measured:,} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
