"""Many pictures by many processes: the options ``--workers`` and ``--cluster``, and what is printed meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zvae_tiled.cli.bar import bar
from zvae_tiled.cli.batch import Batch
from zvae_tiled.cli.options import group
from zvae_tiled.report.progress import Progress
from zvae_tiled.wording import counted, duration

if TYPE_CHECKING:
    from zvae_tiled.cluster.row import Overall, Row


@dataclass(frozen=True)
class Machines:
    """The options that say which processes do the work, as they were typed.

    Attributes:
        workers: ``--workers``.
        cluster: ``--cluster``.
        allow: ``--allow-different``.
    """

    workers: int | None
    cluster: str | None
    allow: tuple[str, ...]

    @property
    def asked(self) -> bool:
        """Whether other processes do the work."""
        return self.workers is not None or self.cluster is not None

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            click.UsageError: They do.
        """
        if self.workers is not None and self.cluster is not None:
            raise click.UsageError("--workers starts processes here, --cluster uses those of a cluster: remove one.")
        if self.allow and self.cluster is None:
            raise click.UsageError("--allow-different: only workers of a --cluster can differ. Remove it.")

    @contextmanager
    def client(self, most: int | None = None) -> Iterator[Any]:
        """Start the workers, `most` of them at most, or connect to them, and yield a client of Dask's."""
        from zvae_tiled.cluster.local import connected, local_workers

        count = self.workers if self.workers is None or most is None else min(self.workers, most)
        with local_workers(count) if count is not None else connected(str(self.cluster)) as client:
            yield client


machines_options = group(
    "machines",
    Machines,
    workers=click.option(
        "--workers",
        type=click.IntRange(1, 1024),
        metavar="N",
        help="Do the work in N processes of this machine, which share its cores and the budget, but not a disk limit "
        "or a plan: those hold for each. A manifest, zvae-manifest.jsonl, is written beside the files of the first -o. "
        "It needs the extra zvae-tiled[cluster].",
    ),
    cluster=click.option(
        "--cluster",
        metavar="ADDRESS",
        help="Do the work on the workers of a Dask cluster (tcp://HOST:8786, or the scheduler's file). The budget is "
        "that of each machine, a disk limit or a plan that of each worker. All files have the same paths there. Start "
        "one with `dask scheduler` on one machine, `dask worker ADDRESS --nthreads 1 --memory-limit 0` on each.",
    ),
    allow=click.option(
        "--allow-different",
        "allow",
        type=click.Choice(["versions", "kernels"]),
        multiple=True,
        help="Let workers of a cluster differ in this, though their pictures may then differ in bits.",
    ),
)


def manifest_path(batch: Batch) -> Path:
    """Return where the manifest of a batch is: in the folder of the files that the first ``-o`` names."""
    from zvae_tiled.cluster.manifest import NAME

    return Path(os.path.commonpath([paths[0].absolute().parent for _, paths in batch.found.values()])) / NAME


def carry_out(batch: Batch, machines: Machines, manifests: list[Path]) -> None:
    """Carry out all orders of a batch.

    Args:
        batch: The batch.
        machines: Who does the work.
        manifests: Where the manifest is; empty if there is no order, and so no folder of its files.

    Raises:
        SomeFailed: Of several, some failed.
        ClusterError: Workers are missing, are not alike, or were all lost.
    """
    from zvae_tiled.cluster.manifest import manifest as opened
    from zvae_tiled.cluster.many import carried_out
    from zvae_tiled.cluster.ready import ready
    from zvae_tiled.cluster.row import Row

    names = list(batch.orders)
    orders = [ready(number, batch.orders[name], *batch.found[name]) for number, name in enumerate(names)]
    failed = dict(batch.bad)
    with ExitStack() as stack:
        writers = [stack.enter_context(opened(path)) for path in manifests]
        for row in (Row(name, (), "failed", error) for name, error in batch.bad.items()):
            for each in writers:
                each.add(row)
        if orders:
            line = stack.enter_context(_line(batch.quiet))
            client = stack.enter_context(machines.client(len(orders)))
            done = stack.enter_context(batch.counted("at least "))
            for number, row in carried_out(orders, client, line, machines.allow):
                for each in writers:
                    each.add(row)
                if row.error is not None:
                    batch.tell(batch.orders[names[number]].source, row.error)
                    failed[names[number]] = row.error
                    continue
                done.append(names[number])
                if not batch.quiet:
                    click.echo(_said(batch.orders[names[number]].targets, row), err=True)
    batch.end({name: failed[name] for name in (*batch.bad, *names) if name in failed})


def _said(targets: list[str], row: Row) -> str:
    return f"written    {', '.join(targets)}: {duration(row.seconds)} on {row.worker}"


@contextmanager
def _line(quiet: bool) -> Iterator[Any]:
    """Show one progress line for all orders."""
    shown = ["workers start"]

    with bar(lambda: shown[0], quiet) as listener:

        def tell(overall: Overall) -> None:
            shown[0] = f"{overall.finished} of {overall.count} files, {counted(overall.workers, 'worker')}"
            if listener is not None:
                listener(Progress(overall.done, 0, 0, overall.seconds))

        yield tell
