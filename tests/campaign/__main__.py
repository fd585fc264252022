"""``python -m tests.campaign [ROW ...]``: tries the rows' cases, and writes counts into docs/reliability.md."""

from __future__ import annotations

import argparse
import math
import secrets
import sys
import time
from collections.abc import Iterator

from docs import reliability_table
from tests.campaign.counts import Count, keep
from tests.campaign.part import Part, all_rows, parts_of
from tests.campaign.trial import Outcome, outcomes
from zvae_tiled.report.environment import environment

SAMPLE_SEED = 23
"""`--sample` tries the same cases every time, and counts nothing: the page counts different cases."""

PRINT_EVERY, SAVE_EVERY = 10.0, 30.0  # seconds

SHOWN = 20
"""Failures of a part that are printed in full."""


def main(words: list[str]) -> int:
    """Run the command; return its exit code: 0, or 1 if a case failed, or 130 after Ctrl-C."""
    options = _parser().parse_args(words)
    seed = SAMPLE_SEED if options.sample else options.seed if options.seed is not None else secrets.randbits(32)
    chosen = [each for name in options.rows or all_rows() for each in _chosen(name)]
    chosen = [each for each in chosen if each[1].sample or not options.sample]
    failed, ends = 0, time.monotonic() + 60 * options.minutes
    try:
        for position, (row, part) in enumerate(chosen):
            if not part.possible():
                print(f"NOT RUN: {row}/{part.name} needs {part.needs}", flush=True)
                continue
            share = (ends - time.monotonic()) / 60 / (len(chosen) - position)
            count, minutes = _until(part, options, share)
            trying = _within(
                minutes, count, outcomes(row, part, seed, options.first if options.case is None else options.case)
            )
            failed += _run(row, part, seed, count, trying, counts=not options.sample and options.case is None)
    except KeyboardInterrupt:
        return 130
    return int(failed > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.campaign", description=__doc__)
    parser.add_argument("rows", metavar="ROW", nargs="*", help="a row, or a part of it as row/part; default: all rows")
    parser.add_argument("--count", type=int, help="how many to try of each part; default: its aim")
    parser.add_argument("--seed", type=int, help="the seed of all cases; default: a fresh one")
    parser.add_argument("--first", type=int, default=0, help="the case to begin with: to go on behind an earlier run")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end all after so many minutes")
    parser.add_argument("--sample", action="store_true", help="a few cases of each part, always the same")
    parser.add_argument("--case", type=int, help="only this case: how a failure is repeated")
    return parser


def _chosen(name: str) -> Iterator[tuple[str, Part]]:
    row, _, wanted = name.partition("/")
    found = [part for part in parts_of(row) if wanted in ("", part.name)] if row in all_rows() else []
    if not found:
        raise SystemExit(f"no row or part is named {name}; the rows: {', '.join(all_rows())}")
    yield from ((row, part) for part in found)


def _until(part: Part, options: argparse.Namespace, minutes: float) -> tuple[float, float]:
    """Return how many to try of a part, and for how many minutes at most. By default one of them is its aim."""
    if options.case is not None:
        return 1, minutes
    if options.sample or options.count:
        return part.sample if options.sample else options.count, minutes
    return (math.inf, min(minutes, part.aim)) if part.timed else (part.aim, minutes)


def _within(minutes: float, count: float, trying: Iterator[Outcome]) -> Iterator[Outcome]:
    ends, tried = time.monotonic() + 60 * minutes, 0
    for outcome in trying:
        yield outcome
        tried += outcome.tried
        if tried >= count or time.monotonic() > ends:
            return


def _run(row: str, part: Part, seed: int, count: float, trying: Iterator[Outcome], counts: bool) -> int:
    """Try the cases of a part; print and count them; return how many failed."""
    tried = failed = 0
    started = printed = saved = time.monotonic()
    of = "" if count == math.inf else f" of {count}"
    try:
        for outcome in trying:
            tried += outcome.tried
            if outcome.found is not None:
                failed += 1
                repeat = f"python -m tests.campaign {row}/{part.name} --seed {seed} --case {outcome.number}"
                why = outcome.found if failed <= SHOWN else outcome.found.strip().rpartition("\n")[2]
                print(f"{why}\nFAILED: {row}/{part.name}. To repeat it: {repeat}", flush=True)
            if time.monotonic() > printed + PRINT_EVERY:
                printed = time.monotonic()
                print(f"{row}/{part.name}: {tried}{of} tried, {failed} failed", flush=True)
            if counts and time.monotonic() > saved + SAVE_EVERY:
                saved = time.monotonic()
                _save(row, part, seed, tried, failed, started)
    finally:
        print(f"{row}/{part.name}: {tried} tried with seed {seed}, {failed} failed", flush=True)
        if counts and tried:
            _save(row, part, seed, tried, failed, started)
    return failed


def _save(row: str, part: Part, seed: int, tried: int, failed: int, started: float) -> None:
    keep(_count(row, part, seed, tried, failed, round((time.monotonic() - started) / 60, 1)))
    reliability_table.main()


def _count(row: str, part: Part, seed: int, tried: int, failed: int, minutes: float) -> Count:
    here = environment("cpu")
    machine = f"{here['processor']}, {here['cores']} cores, {here['memory'] / 1e9:.0f} GB, {here['system']}"
    versions = ", ".join(
        f"{name} {version}" for name, version in [("zvae_tiled", here["version"]), *here["versions"].items()]
    )
    found = (seed, tried, failed, here["day"], machine, versions, minutes if part.timed else None)
    return Count(row, part.name, part.what, part.aim, *found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
