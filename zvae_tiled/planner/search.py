"""The search: at every barrier keep, spill or drop; a shortest path over (what is stored, barrier reached)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from zvae_tiled.planner.stage import Ending, Medium, Stage, Sweep, endings
from zvae_tiled.planner.sweeps import Held, SweepCosts

MEDIA: tuple[Medium, ...] = ("ram", "disk")


@dataclass(frozen=True)
class Path:
    """The best way found to a state, newest sweep first."""

    score: float
    sweep: Sweep | None = None
    before: Path | None = None

    def sweeps(self) -> tuple[Sweep, ...]:
        """Return the sweeps in their order."""
        found: list[Sweep] = []
        path: Path | None = self
        while path is not None and path.sweep is not None:
            found.append(path.sweep)
            path = path.before
        return tuple(reversed(found))


def fastest(costs: SweepCosts, budget: int, stage: Stage) -> tuple[Sweep, ...] | None:
    """Return the sweeps with the least predicted time whose peaks fit, or None."""

    def choose(make: Callable[[int], Sweep], ladder: list[int]) -> Sweep | None:
        # Larger bands are never slower, so the first that fits is the fastest.
        return next((sweep for rows in ladder if (sweep := make(rows)).peak <= budget), None)

    return _search(costs, stage, choose, lambda score, sweep: score + sweep.seconds)


def leanest(costs: SweepCosts, stage: Stage) -> tuple[Sweep, ...]:
    """Return the sweeps with the smallest peak there is."""

    def choose(make: Callable[[int], Sweep], ladder: list[int]) -> Sweep | None:
        # Bands of one row take least, but a map of a few rows may take less all at once: then the ladder is short.
        rows = ladder if ladder[0] < costs.costs.device.band_rows else ladder[-1:]
        return min(map(make, rows), key=lambda sweep: sweep.peak)

    found = _search(costs, stage, choose, lambda score, sweep: max(score, sweep.peak))
    assert found is not None
    return found


def _search(
    costs: SweepCosts,
    stage: Stage,
    choose: Callable[[Callable[[int], Sweep], list[int]], Sweep | None],
    score: Callable[[float, Sweep], float],
) -> tuple[Sweep, ...] | None:
    paths = {Held(stage.start, "ram" if stage.start == 0 else None): Path(0.0)}
    needed = endings(costs.costs.chain, stage)
    for ends, stop in needed:
        read = stage.keeps is not None or (ends, stop) != needed[-1]
        reached: dict[Held, Path] = {}
        for held, path in paths.items():
            for after, store, medium in _moves(costs, held, stop, ends, read):
                make = partial(_sweep, costs, held, stop, ends, store, medium)
                sweep = choose(make, _ladder(costs, held.cut, stop, stop if store is None else store, medium))
                if sweep is None:
                    continue
                candidate = Path(score(path.score, sweep), sweep, path)
                if after not in reached or candidate.score < reached[after].score:
                    reached[after] = candidate
        paths = _undominated(costs, reached)
    if stage.keeps is not None:
        wanted = (stage.stop, stage.keeps)
        paths = {held: path for held, path in paths.items() if (held.cut, held.medium) == wanted}
    return min(paths.values(), key=lambda path: path.score).sweeps() if paths else None


def _undominated(costs: SweepCosts, reached: dict[Held, Path]) -> dict[Held, Path]:
    """Leave out what a later cut beats: reached as soon, no larger, as tall, kept in the same place.

    Whatever can follow the earlier cut can follow the later one, in less time and less memory: its sweeps pass fewer
    Steps with bands of the same heights. Without this the search grows with the square of the number of Steps.
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


def _sweep(
    costs: SweepCosts, held: Held, stop: int, ends: Ending, store: int | None, medium: Medium | None, rows: int
) -> Sweep:
    return costs.sweep(held, stop, ends, rows, store, medium)


def _moves(
    costs: SweepCosts, held: Held, stop: int, ends: Ending, read: bool
) -> Iterator[tuple[Held, int | None, Medium | None]]:
    """Yield what can be stored on the way to a barrier: what is held after, which cut, and where.

    Args:
        costs: What sweeps cost.
        held: What is stored so far.
        stop: The barrier.
        ends: How the sweep ends there.
        read: Whether a later sweep, or a later stage, would read what is stored.
    """
    steps = costs.costs.chain.steps
    if ends == "keys":
        for medium in MEDIA:
            yield Held(held.cut, held.medium, medium), None, medium
        return
    attention = ends == "moments" and steps[stop].kind == "attention"
    if not attention:
        yield held, None, None
    if ends == "moments" and read:
        # Before an upsampling a map is a quarter as large; recomputing it costs one convolution.
        cuts = [stop] if attention or not steps[stop - 1].upsample else [stop, stop - 1]
        for cut in cuts:
            if cut > held.cut:
                for medium in MEDIA:
                    yield Held(cut, medium), cut, medium


def _ladder(costs: SweepCosts, start: int, stop: int, store: int, medium: Medium | None) -> list[int]:
    """Return band heights to try, largest first."""
    device, factors = costs.costs.device, costs.costs.chain.factors
    tallest = min(device.band_rows, costs.costs.map_rows(start))
    if medium is not None:  # strips are kept no taller than this, so that they can be freed in time
        tallest = max(1, min(tallest, device.band_rows * factors[start] // factors[store]))
    ladder = [tallest]
    while ladder[-1] > 1:
        ladder.append(ladder[-1] // 2)
    # No buffer above the device's limit: the largest holds a band twice over at most (Winograd's: 64/36).
    most = device.max_buffer // (2 * costs.largest(start, stop))
    return [rows for rows in ladder if rows <= most] or [1]
