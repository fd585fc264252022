"""`SavedRun`: a `Run` whose maps are files of a work folder. It goes on where another process stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from zvae_tiled.devices.kernels import T
from zvae_tiled.devices.workspace import block_rows
from zvae_tiled.engine.bands import Band, Store
from zvae_tiled.engine.checkpoints import Checkpoints
from zvae_tiled.engine.keys import AllKeys
from zvae_tiled.engine.moments import Moments
from zvae_tiled.engine.run import Run
from zvae_tiled.engine.spill import SavedBands
from zvae_tiled.engine.sums import RowSums, Sums
from zvae_tiled.planner.region import Asked, Rows
from zvae_tiled.planner.stage import Sweep, shares_skip


class SavedRun(Run[T]):
    """Runs the one stage of an exact decode, whose plan stores every map on disk."""

    def __init__(self, notes: Checkpoints, *options: Any) -> None:
        """Keep the arguments.

        Args:
            notes: How far other processes have come with this picture.
            options: Those of `Run`.
        """
        super().__init__(*options)
        self._notes = notes

    def _sweeps(self, store: Store[T], stack: ExitStack, owned: bool) -> Iterator[T]:
        """Run the sweeps that are left. `store` holds the latents, `owned` is True."""
        notes, sweeps = self._notes, self._stage.sweeps
        for cut, merged in notes.norms.items():
            gathered = self._gathering(cut, merged)
            assert gathered is not None
            self._fold(cut, gathered)
        files: dict[int, list[SavedBands[T]]] = {}
        for index in range(notes.sweep, len(sweeps)):
            source, keys = self._read_by(index)
            for gone in files.keys() - {source, keys}:  # without a name it still takes its room until it is closed
                for file in files.pop(gone):
                    file.close()
            for found in (source, keys):
                if found is not None and found not in files:
                    files[found] = self._files(found, None, stack)
            sweep, target = sweeps[index], None
            if sweep.medium is not None:
                files[index] = self._files(index, notes.stored, stack)
            notes.begin(files.get(index, []), [file for i in (source, keys) if i is not None for file in files[i]])
            if sweep.ends == "keys":
                self._keys = AllKeys(files[index][0], block_rows(self._stage.width))
            elif sweep.store is not None:
                target = self._stored(index, files[index])
            if keys is not None:
                self._keys = AllKeys(files[keys][0], block_rows(self._stage.width))
            if source is not None:
                store.close()  # nothing reads the latents any more
            release = sweep.store is not None or sweep.ends == "pixels"
            yield from self._sweep(
                index, store if source is None else self._stored(source, files[source]), target, release
            )

    def _sweep(self, index: int, store: Store[T], target: Store[T] | None, release: bool) -> Iterator[T]:
        """Run a sweep for the rows that are left. Yield the picture's, if it ends there."""
        sweep, notes = self._stage.sweeps[index], self._notes
        ended, stored = self._all(sweep)
        asked = Asked(Rows(notes.rows, ended.stop), stored and Rows(notes.stored, stored.stop))
        moments = self._moments(sweep, notes.moments)
        if notes.others is not None and isinstance(moments, Moments):
            moments.merge(*notes.others)
        yield from self._part(index, store, target, release, moments, asked)
        if moments is not None:
            self._fold(sweep.stop, moments)
        if sweep.ends != "pixels":
            notes.sweep_done(sweep.stop, moments)

    def _gather(self, sweep: Sweep, bands: Iterator[Band[T]], moments: Moments | Sums | RowSums | None) -> None:
        assert not isinstance(moments, RowSums)  # stripes have no work folder
        super()._gather(sweep, self._noted(sweep, bands, moments), moments)

    def _noted(self, sweep: Sweep, bands: Iterator[Band[T]], moments: Moments | Sums | None) -> Iterator[Band[T]]:
        """Pass each band on, then note its rows."""
        rows, height = self._notes.rows, self._all(sweep).ended.stop
        for band in bands:
            assert band.value is not None
            rows += self._kernels.rows(band.value)
            yield band
            if rows < height:
                self._notes.passed(rows, moments)

    def _read_by(self, index: int) -> tuple[int | None, int | None]:
        """Return the sweeps that stored the map and the keys that a sweep reads; None for the latents, and no keys."""
        source = keys = None
        for before, sweep in enumerate(self._stage.sweeps[:index]):
            if sweep.ends == "keys":
                keys = before
            elif sweep.store is not None:
                source = before
                keys = None if self._chain.attends(sweep.start, sweep.store) else keys
        return source, keys

    def _files(self, index: int, rows: int | None, stack: ExitStack) -> list[SavedBands[T]]:
        """Return the files of what a sweep stores.

        Args:
            index: The sweep.
            rows: Rows that they have; None for all rows.
            stack: Closes them.
        """
        sweep, chain = self._stage.sweeps[index], self._chain
        cut = sweep.stop if sweep.store is None else sweep.store
        shared = self._shared(index)
        parts = {"value": chain.channels[cut] - chain.aside[cut]}
        if shared is None:
            parts |= {f"skip{place or ''}": channels for place, channels in enumerate(chain.open[cut])}
        if sweep.ends == "keys":
            parts = {"keys": 2 * chain.steps[cut].inputs}
        width, height = (side * chain.factors[cut] for side in (self._stage.width, self._stage.height))
        known = height if rows is None else rows
        files = [
            self._notes.bands(self._kernels, f"{index}-{part}", width, channels, known)
            for part, channels in parts.items()
        ]
        for file in files:
            stack.callback(file.close)
        return files if shared is None else [*files, self._files(shared, None, stack)[0]]

    def _shared(self, index: int) -> int | None:
        """Return the sweep whose stored map is the skip that this sweep stores; None if it stores its own, or none."""
        sweep, (source, _) = self._stage.sweeps[index], self._read_by(index)
        shared = sweep.store is not None and shares_skip(self._chain, sweep.start, sweep.store, "disk", sweep.medium)
        return source if shared else None

    def _stored(self, index: int, files: list[SavedBands[T]]) -> Store[T]:
        value, *skips = files
        return Store(self._kernels, value, skips, self._shared(index) is not None)
