"""A sweep whose band height is not chosen yet, and what it costs with each height."""

from __future__ import annotations

from zvae_tiled.planner.stage import Ending, Medium, Sweep, shares_skip
from zvae_tiled.planner.sweeps import Held, Sums, SweepCosts

SOON = 30.0
"""Seconds that a band of an attention lasts at most, if that costs little."""

SLOWER = 1.02
"""This many times the least time is little."""


class Leg:
    """All sweeps from what is stored to one barrier, or to the end, that store the same."""

    def __init__(
        self,
        costs: SweepCosts,
        held: Held,
        stop: int,
        ends: Ending,
        store: int | None = None,
        medium: Medium | None = None,
    ) -> None:
        """Work out what does not depend on the height of bands.

        Args:
            costs: The costs of the stage's sweeps.
            held: What is stored before the sweep.
            stop: The cut it reaches.
            ends: What it ends in.
            store: The cut it stores, if any.
            medium: Where the stored cut or the keys are kept.
        """
        self.held, self.stop, self.ends, self.store, self.medium = held, stop, ends, store, medium
        self._costs = costs
        self._steps = steps = costs.costs
        self._passed = stop - held.cut
        self._before = steps.cut_bytes(held.cut)
        # A skip that is stored already stays where it is, as the skip of the new map.
        self._shared = (
            costs.frees and store is not None and shares_skip(steps.chain, held.cut, store, held.medium, medium)
        )
        self._aside = steps.aside_bytes(store) if store is not None and self._shared else 0
        self._stores = 0 if store is None else steps.cut_bytes(store) - self._aside
        self._gathers = steps.key_bytes(stop) if ends == "keys" else 0
        attention = steps.chain.attention
        self._keys = steps.key_bytes(attention) if held.keys and attention is not None else 0
        self._attends = attention if steps.chain.attends(held.cut, stop) else None

    @property
    def disk(self) -> int:
        """The most bytes on disk during the sweep."""
        before = self._before if self.held.medium == "disk" else 0
        stores = self._stores + self._gathers if self.medium == "disk" else 0
        # Rows that are stored take the place of those that were read, of which there are as many or more.
        reads_last = self.held.cut > 0 and self.store is not None and not self._shared
        replaces = self._costs.frees_disk and reads_last
        keys = self._keys if self.held.keys == "disk" else 0
        return self._costs.kept + keys + (max(before, stores) if replaces else before + stores)

    def peak(self, rows: int, anew: bool = False) -> int:
        """Return the bytes of the sweep in bands of `rows` rows at the cut it reads.

        Args:
            rows: Height of a band.
            anew: Whether the weights of convolutions are prepared for each band anew.
        """
        costs, sums, passed = self._costs, self._costs.sums(self.held.cut, rows, anew), self._passed
        reached = sums.reached[passed]
        prepared, preparing = sums.prepared[passed], sums.preparing[passed]
        if self.ends not in ("moments", "pixels"):  # gathering keys prepares all of the attention's weights
            attention = self._steps.step(self.stop, reached, reached)
            prepared, preparing = prepared + attention.prepared, max(preparing, attention.preparing)
        fixed = costs.base + self._stored(rows) + prepared + (costs.output if self.ends == "pixels" else 0)
        working = max(sums.working[passed], self._last(reached))
        peak = int(fixed + max(preparing, sums.carried[passed] + working))
        return max(peak, costs.base + costs.starting) if self.held.cut == 0 else peak

    def seconds(self, rows: int, anew: bool = False) -> float:
        """Return the predicted time of the sweep. Taller bands never take more."""
        sums = self._costs.sums(self.held.cut, rows, anew)
        return self._computing(sums) + self._moved(rows) / self._steps.device.disk

    def prompt(self, ladder: list[int]) -> list[int]:
        """Leave out tall bands of an attention that last long, where shorter ones take hardly more time in all.

        After each band a decode tells its progress, and may note it in a work folder: a crash loses a band at most.
        """
        if self._attends is None:
            return ladder
        most = SLOWER * self.seconds(ladder[0])
        cheap = [rows for rows in ladder if self.seconds(rows) <= most]
        height = self._steps.map_rows(self.held.cut)
        soon = (place for place, rows in enumerate(cheap) if self.seconds(rows) * rows <= SOON * height)
        return ladder[next(soon, len(cheap) - 1) :]

    def sweep(self, rows: int, anew: bool = False) -> Sweep:
        """Return the sweep in bands of `rows` rows, with its predicted costs."""
        sums, io = self._costs.sums(self.held.cut, rows, anew), self._moved(rows)
        gathering = self.ends not in ("moments", "pixels")
        keying = self._costs.gathering_keys(self.stop, self.ends, sums.reached[self._passed])[1] if gathering else 0
        return Sweep(
            start=self.held.cut,
            stop=self.stop,
            ends=self.ends,
            rows=rows,
            store=self.store,
            medium=self.medium,
            anew=anew,
            peak=self.peak(rows, anew),
            flops=sums.flops[self._passed] + keying,
            io=io,
            seconds=self.seconds(rows, anew),
            attending=self._attending(rows) + (self._steps.keying(keying) if gathering else 0),
            spilling=io / self._steps.device.disk,
            disk=self.disk,
        )

    def _last(self, reached: int) -> int:
        """Return the bytes alive where the sweep ends, for a band of `reached` rows."""
        steps = self._steps
        if self.ends == "moments":
            return self._costs.finish(self.stop, reached)
        if self.ends != "pixels":
            return self._costs.gathering_keys(self.stop, self.ends, reached)[0]
        # Picture rows in float32; for some sinks also multiplied by 255 and converted to whole numbers.
        pixels = min(reached, steps.map_rows(self.stop)) * steps.row_bytes(self.stop)
        return max(pixels // steps.size.itemsize * 9, pixels + pixels // steps.size.itemsize * 4)

    def _computing(self, sums: Sums) -> float:
        """Return the time of the sweep without the disk's."""
        steps, seconds = self._steps, sums.seconds[self._passed]
        if self.ends == "moments":
            return seconds + steps.gathering(self.stop)
        if self.ends == "pixels":
            return seconds + steps.writing(self.stop)  # also a Chain of no Steps takes its time
        return seconds + steps.keying(self._costs.gathering_keys(self.stop, self.ends, sums.reached[self._passed])[1])

    def _attending(self, rows: int) -> float:
        """Return the seconds of the attention."""
        if self._attends is None:
            return 0.0
        return self._steps.seconds(self._attends, self._steps.chain.rows_at(self._attends, rows, self.held.cut))

    def _moved(self, rows: int) -> int:
        """Return the bytes written to and read from disk."""
        io = self._before if self.held.medium == "disk" else 0
        io += self._stores + self._gathers if self.medium == "disk" else 0
        if self.held.keys == "disk" and self.stop > self.held.cut:
            io += self._keys * -(-self._steps.size.height // rows)  # every band reads all keys
        return io

    def _stored(self, rows: int) -> int:
        """Return the bytes of stored maps and keys in memory."""
        keys = (self._gathers if self.medium == "ram" else 0) + (self._keys if self.held.keys == "ram" else 0)
        return keys + self._maps(rows)

    def _maps(self, rows: int) -> int:
        """Return the most bytes of the map that is read and of the one that is stored, in memory at once."""
        steps, start, store = self._steps, self.held.cut, self.store
        if not self._costs.frees:
            return self._before + self._stores
        before = self._before if self.held.medium == "ram" else 0
        if store is None and self.ends != "pixels":  # the map is read again
            return before
        after, early, tall = 0, 0, steps.device.band_rows
        if store is not None and self.medium == "ram":
            row, most = steps.row_bytes(store) - self._aside // steps.map_rows(store), steps.map_rows(store)
            # If the sweep ends at the stored cut, the band that is being stored is counted as work.
            work = min(steps.chain.rows_at(store, rows, start), most) * row if store == self.stop else 0
            after = self._stores - work
            # A strip ends one row before a band does, but only if one height divides the other. Otherwise they may
            # drift apart.
            strip = tall if tall % rows else tall - rows
            early = min(after, min(steps.chain.rows_at(store, strip, start), most) * row)
        if self._shared:
            return before + after
        # While a new map is stored, the old one is freed strip by strip (latents are a single strip). A strip is freed
        # when its last row is read, so memory peaks while the first strip is read or while the last one is.
        first = before if start == 0 else tall * steps.row_bytes(start)
        return max(before + early, after + min(first, before))
