"""The search for sweeps: at every barrier keep, spill or drop. A shortest path over (stored cut, barrier reached)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from zvae_tiled.planner.aims import Aim, Fastest, Leanest
from zvae_tiled.planner.leg import Leg
from zvae_tiled.planner.stage import Ending, Medium, Stage, Sweep, endings
from zvae_tiled.planner.storage import ANYWHERE, Storage
from zvae_tiled.planner.sweeps import Held, SweepCosts


@dataclass(frozen=True)
class Path:
    """The best sweeps that lead to a state, as a linked list, newest sweep first."""

    score: float
    sweep: Sweep | None = None
    before: Path | None = None

    def sweeps(self) -> tuple[Sweep, ...]:
        """Return the sweeps in their order."""
        newest_first: list[Sweep] = []
        path: Path | None = self
        while path is not None and path.sweep is not None:
            newest_first.append(path.sweep)
            path = path.before
        return tuple(reversed(newest_first))


def fastest(
    costs: SweepCosts, budget: int, stage: Stage, storage: Storage = ANYWHERE, source: Medium = "ram"
) -> tuple[Sweep, ...] | None:
    """Return the sweeps with the least predicted time that fit budget and storage; None if there are none.

    Args:
        costs: The costs of sweeps.
        budget: The most bytes that a sweep may use.
        stage: The stage.
        storage: Where its maps may be stored.
        source: Where the map at cut 0 is stored.
    """
    return _search(costs, stage, storage, Fastest(budget), source)


def leanest(
    costs: SweepCosts,
    stage: Stage,
    storage: Storage = ANYWHERE,
    least: Literal["peak", "disk"] = "peak",
    source: Medium = "ram",
) -> tuple[Sweep, ...] | None:
    """Return the sweeps with the smallest possible peak; None if the storage has no room for any.

    Args:
        costs: The costs of sweeps.
        stage: The stage.
        storage: Where its maps may be stored.
        least: What is smallest: ``peak``, or ``disk``.
        source: Where the map at cut 0 is stored.
    """
    return _search(costs, stage, storage, Leanest(least, costs.costs.device.band_rows), source)


def _search(costs: SweepCosts, stage: Stage, storage: Storage, aim: Aim, source: Medium) -> tuple[Sweep, ...] | None:
    @cache
    def ladder(start: int, stop: int, store: int | None) -> list[int]:
        return _ladder(costs, start, stop, store)

    paths = {Held(stage.start, source if stage.start == 0 else None): Path(0.0)}
    needed = endings(costs.costs.chain, stage)
    for ends, stop in needed:
        read = stage.keeps is not None or (ends, stop) != needed[-1]
        reached: dict[Held, Path] = {}
        for held, path in paths.items():
            for after, store, medium in _moves(costs, held, stop, ends, read, storage.media):
                leg = Leg(costs, held, stop, ends, store, medium)
                heights = leg.prompt(ladder(held.cut, stop, stop if medium is not None and store is None else store))
                if not storage.holds(leg.disk):
                    continue
                if after in reached and aim.least(path.score, leg, heights) >= reached[after].score:
                    continue
                sweep = aim.choose(leg, heights, costs.costs.grain(held.cut, stop))
                if sweep is None:
                    continue
                candidate = Path(aim.score(path.score, sweep), sweep, path)
                if after not in reached or candidate.score < reached[after].score:
                    reached[after] = candidate
        paths = _undominated(costs, reached)
    if stage.keeps is not None:
        last_map = (stage.stop, stage.keeps)
        paths = {held: path for held, path in paths.items() if (held.cut, held.medium) == last_map}
    return min(paths.values(), key=lambda path: path.score).sweeps() if paths else None


def _undominated(costs: SweepCosts, reached: dict[Held, Path]) -> dict[Held, Path]:
    """Remove every stored cut that a later cut beats: no higher score, no more bytes, same height, same medium.

    The sweeps that can follow the earlier cut can follow the later one too, in less time and less memory: they pass
    fewer Steps with bands of the same heights. Without this the search grows with the square of the number of Steps.
    """
    factors, kept = costs.costs.chain.factors, dict[Held, Path]()
    best: dict[tuple[int, Medium | None, Medium | None], list[tuple[int, float]]] = {}
    for held, path in sorted(reached.items(), key=lambda item: -item[0].cut):
        size = costs.costs.cut_bytes(held.cut)
        later = best.setdefault((factors[held.cut], held.medium, held.keys), [])
        if not any(smaller <= size and score <= path.score for smaller, score in later):
            later.append((size, path.score))
            kept[held] = path
    return kept


def _moves(
    costs: SweepCosts, held: Held, stop: int, ends: Ending, read: bool, media: tuple[Medium, ...]
) -> Iterator[tuple[Held, int | None, Medium | None]]:
    """Yield the choices of a sweep to a barrier: what is stored after it, the cut it stores, and the medium.

    Args:
        costs: The costs of sweeps.
        held: What is stored before the sweep.
        stop: The barrier.
        ends: How the sweep ends there.
        read: Whether a later sweep or stage would read the stored map.
        media: Where a map may be stored.
    """
    steps = costs.costs.chain.steps
    if ends == "keys":
        for medium in media:
            yield Held(held.cut, held.medium, medium), None, medium
        return
    attention = ends == "moments" and steps[stop].kind == "attention"
    kept = None if costs.frees else held.keys  # keys are needed again, too, if a worker is lost
    if not attention:
        yield held, None, None
    if ends == "moments" and read:
        # The cut before an upsampling Step is a quarter of the size. Starting there repeats one convolution.
        cuts = [stop] if attention or not steps[stop - 1].upsample else [stop, stop - 1]
        if steps[stop].kind == "linear":  # the map that its block reads has a quarter of the numbers, or less
            cuts = [stop, max(cut for cut in range(stop) if steps[cut].opens)]
        for cut in cuts:
            if cut > held.cut:
                for medium in media:
                    yield Held(cut, medium, kept), cut, medium


def _ladder(costs: SweepCosts, start: int, stop: int, store: int | None) -> list[int]:
    """Return band heights to try, largest first: whole grains where a band has more than one.

    Args:
        costs: The costs of sweeps.
        start: The cut that the sweep reads.
        stop: The cut that it reaches.
        store: The cut of the map that it stores, or whose keys; None if it stores nothing.
    """
    device, factors = costs.costs.device, costs.costs.chain.factors
    grain = costs.costs.grain(start, stop)
    tallest = min(device.band_rows, costs.costs.map_rows(start))
    if store is not None:  # taller strips would be freed too late
        tallest = max(1, min(tallest, device.band_rows * factors[start] // factors[store]))
    ladder = [tallest]
    while ladder[-1] > 1:
        half = ladder[-1] // 2
        ladder.append(-(-half // grain) * grain if ladder[-1] > grain else half)
    return [rows for rows in ladder if rows <= costs.tallest(start, stop)]
