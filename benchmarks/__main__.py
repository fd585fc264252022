"""``python -m benchmarks run | check | report``: see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from benchmarks import baselines, store
from benchmarks.runner import Machine, commit, folder_of, run_group
from zvae_tiled.devices.table import likely_device
from zvae_tiled.errors import ZvaeError
from zvae_tiled.planner.budget import available_memory, parse_budget
from zvae_tiled.report.figures import Row

SUITES = (
    "promises",
    "process",
    "memory",
    "limit",
    "paths",
    "speed",
    "scale",
    "quality",
    "peers",
    "families",
    "reference",
    "ends",
    "large",
)


def main() -> int:
    """Run the command, and return its exit code."""
    args = _parser().parse_args()
    if args.command == "report":
        from benchmarks.report import write_report

        write_report()
        return 0
    try:
        available = available_memory()
        limit = parse_budget(args.memory_limit, available).size
    except ZvaeError as error:
        print(error, file=sys.stderr)
        return 2
    if args.command == "check":
        return check(Machine(limit, args.timeout), args.quick, args.update_baseline)
    machine = Machine(limit, args.timeout, tuple(args.peers_python), keep=args.keep)
    for suite in args.suite or SUITES:
        for row in run_suite(suite, machine, args.quick, args.large, args.only):
            store.write(store.named(suite, likely_device()), [row], args.results)
    return 0


def run_suite(suite: str, machine: Machine, quick: bool, large: bool, only: str = "") -> Iterator[Row]:
    """Run one suite, and yield each row when it is measured. Only cases whose names hold the text `only` are run."""
    print(
        f"{suite}, {commit()}", file=sys.stderr, flush=True
    )  # read the commit now, because files may change during a long run
    module = import_module(f"benchmarks.suites.{suite}")
    if hasattr(module, "rows"):  # a suite without groups of cases, which have names
        if not only:
            yield from module.rows()
        return
    limit = min(machine.limit, getattr(module, "LIMIT", machine.limit))
    timeout = getattr(module, "TIMEOUT", None) if machine.timeout is None else machine.timeout
    machine = replace(machine, environment=getattr(module, "ENVIRONMENT", ()), limit=limit, timeout=timeout)
    with folder_of(machine) as folder:
        for group in module.groups(quick, large, folder):
            yield from run_group(group, machine, only)


def check(machine: Machine, quick: bool, update: bool) -> int:
    """Measure memory, and compare it with predictions, budgets and baselines."""
    rows = list(run_suite("memory", machine, quick, False))
    before = baselines.read()
    if update:
        for line in baselines.differences(rows, before):
            print(line)
        baselines.update(rows, before)
        before = baselines.read()
    faults = list(baselines.faults(rows, before))
    for line in faults:
        print(f"FAULT {line}")
    print(f"{len(rows)} cases of memory, {len(faults)} faults")
    return 1 if faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, check, report.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, and store the rows in benchmarks/results")
    run.add_argument(
        "--suite",
        action="append",
        choices=SUITES,
        help="run only this suite; repeat the option for several. Default: all suites",
    )
    run.add_argument("--large", action="store_true", help="run the large sizes too, which takes hours")
    run.add_argument(
        "--peers-python",
        action="append",
        default=[],
        metavar="PATH",
        help="a Python interpreter that has peers installed; may be repeated",
    )
    run.add_argument("--only", default="", metavar="TEXT", help="run only cases whose names hold this text")
    run.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="folder for pictures and samples: a run that was stopped goes on there. Default: a temporary folder",
    )
    run.add_argument("--results", type=Path, default=store.FOLDER, help="folder for the rows")
    checking = commands.add_parser("check", help="measure memory against predictions, budgets and baselines")
    checking.add_argument(
        "--update-baseline", action="store_true", help="show the differences, and write them to the baselines"
    )
    for each in (run, checking):
        each.add_argument("--quick", action="store_true", help="run few and small cases")
        each.add_argument("--memory-limit", default="60%", help="most memory of a child process, written like a budget")
    run.add_argument("--timeout", type=float, help="most seconds of a child process. Default: 3600, or the suite's")
    checking.add_argument("--timeout", type=float, default=600.0, help="most seconds of a child process")
    commands.add_parser("report", help="write tables and plots into docs/benchmarks.md and docs/performance.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
