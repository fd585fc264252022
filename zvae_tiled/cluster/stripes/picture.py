"""Computes one picture stripe by stripe. Who computes a stripe is up to `Hands`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from zvae_tiled.chain import Chain
from zvae_tiled.cluster.stripes import tasks
from zvae_tiled.cluster.stripes.piece import Piece
from zvae_tiled.cluster.stripes.sweep import RowsMoments
from zvae_tiled.cluster.stripes.tasks import Engines
from zvae_tiled.engine.moments import Merged, Moments
from zvae_tiled.planner.region import Rows
from zvae_tiled.planner.stage import Stage
from zvae_tiled.planner.stripes import edges


class Hands(Protocol):
    """Who carries tasks out. A handle stands for the result of a task, and can be an argument of others."""

    def do(self, stripe: int, name: str, task: Callable[..., Any], *options: Any) -> Any:
        """Let a task be carried out where a stripe is. Return a handle."""

    def get(self, handles: Sequence[Any]) -> list[Any]:
        """Return the results for handles, once all are there."""


class Picture:
    """One picture that is computed stripe by stripe.

    A lost result is computed again from what it was made of. To bound that, moments and sums pass through this process
    as values, and the rows that stripes exchange are kept until the end, as are the keys.
    """

    def __init__(
        self,
        chain: Chain,
        stage: Stage,
        stripes: Sequence[Rows],
        reads: Sequence[Sequence[Rows]],
        hands: Hands,
        engine: Engines,
        on_swept: Callable[[int], object] | None = None,
    ) -> None:
        """Take what is to be computed.

        Args:
            chain: The Chain.
            stage: The stage of the whole picture, of an exact plan.
            stripes: Rows of the latents, from top to bottom.
            reads: For each sweep, and each stripe, the rows that it reads (`planner.stripes.reads`).
            hands: Who carries tasks out.
            engine: What they compute with.
            on_swept: Called with the number of each sweep whose results are known.
        """
        self._chain = chain
        self._stage = stage
        self._stripes = stripes
        self._reads = reads
        self._hands = hands
        self._engine = engine
        self._on_swept = on_swept or (lambda _: None)
        self._moments: dict[int, Merged] = {}
        self._sums: dict[int, Any] = {}
        self._stored: list[Any] = []
        self._keys: list[Any] = []
        self._kept: list[Any] = []

    def rows(self, latents: Piece) -> Iterator[Piece]:
        """Compute the picture from latents, or latents from a picture, ready for the first Step. Yield its rows."""
        for index, sweep in enumerate(self._stage.sweeps):
            results = [self._sweep(index, stripe, latents) for stripe in range(len(self._stripes))]
            if sweep.ends == "moments":
                self._gather(index, results)
            elif sweep.ends == "keys":
                self._keys = self._each(index, tasks.keys, results)
                self._kept += self._keys
            else:
                for finished in self._each(index, tasks.pixels, results):
                    yield self._hands.get([finished])[0]
            self._on_swept(index)
            if sweep.store is not None:
                self._stored = self._each(index, tasks.stored, results) if sweep.stop in self._sums else results
            del results  # the sums of rows are large

    def _sweep(self, index: int, stripe: int, latents: Piece) -> Any:
        """Let a sweep be run for a stripe."""
        stage, reads = self._stage, self._reads[index][stripe]
        sweep = stage.sweeps[index]
        moments = {cut: each for cut, each in self._moments.items() if sweep.start <= cut <= sweep.stop}
        own = self._stored[stripe] if self._stored else latents.part(reads)
        passed = self._chain.attends(sweep.start, sweep.stop)
        sums = [total for cut, total in self._sums.items() if sweep.start <= cut < sweep.stop]
        options = moments, own, self._edges(index, stripe, reads), self._keys if passed else [], sums
        where = self._engine, stage, index, self._stripes[stripe]
        return self._hands.do(stripe, f"sweep-{index}", tasks.sweep, *where, *options)

    def _edges(self, index: int, stripe: int, reads: Rows) -> list[Any]:
        """Let other stripes give the rows that a stripe needs of them."""
        stage, found = self._stage, list[Any]()
        if self._stored:
            factor = self._chain.factors[stage.sweeps[index].start]
            for other, rows in edges(self._stripes, factor, reads, stripe):
                found.append(self._hands.do(other, f"edge-{index}-{stripe}", tasks.edge, self._stored[other], rows))
        self._kept += found
        return found

    def _each(self, index: int, task: Callable[..., Any], results: Sequence[Any]) -> list[Any]:
        """Take a part of each stripe's result."""
        name = f"{task.__name__}-{index}"
        return [self._hands.do(stripe, name, task, result) for stripe, result in enumerate(results)]

    def _gather(self, index: int, results: Sequence[Any]) -> None:
        """Gather what all rows gave where a sweep ends."""
        cut = self._stage.sweeps[index].stop
        if self._chain.steps[cut].kind == "linear":
            self._add_up(index, cut, results)
        else:
            self._merge(index, cut, results)

    def _add_up(self, index: int, cut: int, results: Sequence[Any]) -> None:
        """Let the sums of all rows be added up: each stripe adds its rows to the sum of the stripes above it."""
        total: Any = None
        for stripe, result in enumerate(results):
            total = self._hands.do(stripe, f"sums-{index}", tasks.summed, result, total)
        (whole,) = self._hands.get([total])
        self._sums[cut] = self._hands.do(0, f"map-sums-{index}", tasks.map_sums, cut, whole)

    def _merge(self, index: int, cut: int, results: Sequence[Any]) -> None:
        """Merge the moments of all rows, in their order."""
        parts: list[RowsMoments | None] = self._hands.get(self._each(index, tasks.moments, results))
        found = [part for part in parts if part is not None]
        if found:
            moments = Moments(found[0].rows.shape[2])
            for rows, each in found:
                moments.merge(rows, each)
            self._moments[cut] = moments.total
