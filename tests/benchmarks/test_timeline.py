"""The chart of memory over time: a process is watched while it works, and no peak is lost."""

from __future__ import annotations

import json
import mmap
import time
from xml.etree import ElementTree

from benchmarks.case import Sample
from benchmarks.memory_over_time import chart, peak
from benchmarks.timeline import EVERY, POINTS, thinned, watched

MEGABYTES = 64


def test_growth_is_seen_while_it_lasts() -> None:
    def work() -> Sample:
        time.sleep(5 * EVERY)
        with mmap.mmap(-1, MEGABYTES << 20) as held:  # an allocator may keep what is freed
            for at in range(0, len(held), mmap.PAGESIZE):
                held[at] = 1  # a page is resident once it is written
            time.sleep(5 * EVERY)
        return Sample(seconds=1.0)

    sample, line = watched(work)
    assert sample == Sample(seconds=1.0)
    times = [x for x, _ in line]
    assert times == sorted(times)
    most = max(y for _, y in line)
    assert MEGABYTES << 20 <= most + (4 << 20) <= 2 * MEGABYTES << 20
    assert line[-1][1] < most / 2, "what was freed is gone at the end"


def test_a_thinned_line_keeps_its_peak_and_its_order() -> None:
    line = [(float(i), float(i % 977)) for i in range(5000)]
    thin = thinned(line)
    assert len(thin) <= POINTS
    assert max(y for _, y in thin) == 976
    assert [x for x, _ in thin] == sorted(x for x, _ in thin)
    assert thinned(line[:3]) == line[:3]


def test_lines_of_any_length_in_time_span_the_chart() -> None:
    slow, fast = ([(start + i * step, 2e8 + i) for i in range(5)] for start, step in ((3.0, 9.0), (1.0, 0.1)))
    samples = {"slow": Sample(note=json.dumps(slow)), "fast": Sample(note=json.dumps(fast))}
    assert peak(samples["slow"]) == 2e8 + 4
    drawn = ElementTree.fromstring(chart(samples)).iter("{http://www.w3.org/2000/svg}path")
    first, second = (path.attrib["d"] for path in drawn if path.get("fill") == "none")
    assert first == second
