"""The search: at every barrier keep, spill or drop; a shortest path over (what is stored, barrier reached)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from zvae_tiled.plan.plan import Ending, Medium, Stage, Sweep, endings
from zvae_tiled.plan.sweeps import Held, SweepCosts

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
    for ends, stop in endings(costs.costs.chain, stage):
        reached: dict[Held, Path] = {}
        for held, path in paths.items():
            for after, store, medium in _moves(costs, held, stop, ends):
                make = partial(_sweep, costs, held, stop, ends, store, medium)
                sweep = choose(make, _ladder(costs, held.cut, stop, stop if store is None else store, medium))
                if sweep is None:
                    continue
                candidate = Path(score(path.score, sweep), sweep, path)
                if after not in reached or candidate.score < reached[after].score:
                    reached[after] = candidate
        paths = reached
    if stage.keeps is not None:
        wanted = (stage.stop, stage.keeps)
        paths = {held: path for held, path in paths.items() if (held.cut, held.medium) == wanted}
    return min(paths.values(), key=lambda path: path.score).sweeps() if paths else None


def _sweep(
    costs: SweepCosts, held: Held, stop: int, ends: Ending, store: int | None, medium: Medium | None, rows: int
) -> Sweep:
    return costs.sweep(held, stop, ends, rows, store, medium)


def _moves(costs: SweepCosts, held: Held, stop: int, ends: Ending) -> Iterator[tuple[Held, int | None, Medium | None]]:
    """Yield what can be stored on the way to a barrier: what is held after, which cut, and where."""
    steps = costs.costs.chain.steps
    if ends == "keys":
        for medium in MEDIA:
            yield Held(held.cut, held.medium, medium), None, medium
        return
    attention = ends == "moments" and steps[stop].kind == "attention"
    if not attention:
        yield held, None, None
    if ends == "moments":
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
    # No buffer above the device's limit: the largest holds a band twice over at most (Winograd's: 64/36).
    largest = max(costs.costs.cut_bytes(cut) // costs.costs.map_rows(start) for cut in range(start, stop + 1))
    tallest = max(1, min(tallest, device.max_buffer // (2 * largest)))
    if medium is not None:  # strips are kept no taller than this, so that they can be freed in time
        tallest = max(1, min(tallest, device.band_rows * factors[start] // factors[store]))
    ladder = [tallest]
    while ladder[-1] > 1:
        ladder.append(ladder[-1] // 2)
    return ladder
