"""`Checkpoints`: notes in a work folder how far a decode has come, so that another process goes on there.

What a note vouches for is brought to the disk before the note is. A note is small, and one is made every few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from zvae_tiled.devices.kernels import Kernels
from zvae_tiled.engine.moments import BLOCK, Merged, Moments, Others
from zvae_tiled.engine.spill import SavedBands
from zvae_tiled.engine.sums import Sums
from zvae_tiled.errors import OutputError
from zvae_tiled.files.work_folder import WorkFolder, understood

State = dict[str, Any]
"""What a writer needs to go on with its file, as plain values for JSON."""

SECONDS = 5.0
"""The time between two notes in a sweep. A crash loses the work of this time, or that of a band if it takes longer."""

SLOW = 60.0
"""If a block of rows may take so long, a note has the moments of its rows, too. They are some kilobytes."""


class Checkpoints:
    """How far a decode has come.

    Attributes:
        folder: The work folder.
        picture: The picture of the batch that is being decoded; behind the last one, all are written.
        sweep: Its sweep.
        rows: Rows of the map where the sweep ends that need not be computed again.
        stored: Rows of what the sweep stores, or of its keys, that are on disk.
        moments: What whole blocks of these rows gave, if the sweep gathers moments.
        others: The moments of these rows that are in no whole block.
        norms: The moments of the picture's norms that are known, by cut.
        outputs: The states of each output's pictures: one list for each picture that was begun, oldest state first.
    """

    def __init__(self, folder: WorkFolder, itemsize: int, outputs: int) -> None:
        """Read the notes of earlier processes.

        Args:
            folder: The work folder, with the notes in its journal behind the first record.
            itemsize: Bytes of a number in a stored map.
            outputs: Number of outputs.

        Raises:
            OutputError: A note cannot be read.
        """
        self.folder = folder
        self.picture = self.sweep = self.rows = self.stored = 0
        self.moments: Merged | None = None
        self.others: Others | None = None
        self.norms: dict[int, Merged] = {}
        self.outputs: list[list[list[State]]] = [[[]] for _ in range(outputs)]
        self._itemsize = itemsize
        self._files: Sequence[SavedBands[Any]] = ()
        self._next = time.monotonic() + SECONDS
        self._last = time.monotonic(), 0
        try:
            with understood(folder.path):
                for note in folder.journal.notes():
                    self._apply(note)
        except OSError as error:
            raise OutputError(
                f"the journal of {folder.path} cannot be read: {error.strerror or error}",
                "Check its disk, and run the same decode again.",
            ) from error

    @property
    def due(self) -> bool:
        """Whether it is time for a note."""
        return time.monotonic() >= self._next

    def bands(self, kernels: Kernels[Any], name: str, width: int, channels: int, rows: int) -> SavedBands[Any]:
        """Return a file for a map of this picture: a new one, or one with `rows` rows that are on disk."""
        path = self.folder.path / f"map-{self.picture}-{name}"
        return SavedBands(kernels, path, width, channels, self._itemsize, rows)

    def begin(self, files: Sequence[SavedBands[Any]], others: Sequence[SavedBands[Any]]) -> None:
        """Begin a sweep that fills these files, and reads the others. Files that nobody needs any more are removed."""
        self._files, self._last = files, (time.monotonic(), self.rows)
        self.folder.keep_maps({file.path.name for file in (*files, *others)})
        self.folder.sync()

    def passed(self, rows: int, moments: Moments | Sums | None) -> None:
        """Take that the sweep has computed `rows` rows where it ends, and note it if it is time."""
        if not self.due:
            return
        stored = self._synced()
        if moments is None:
            self._note({"at": [self.picture, self.sweep, rows], "stored": stored})
            return
        note: dict[str, Any] = {"stored": stored, "moments": moments.blocks.to_json()}
        known = moments.block_rows
        if isinstance(moments, Moments) and known < rows and self._is_slow(rows):
            known, note["others"] = rows, moments.others.to_json()
        self._last = time.monotonic(), rows
        self._note({"at": [self.picture, self.sweep, known], **note})

    def sweep_done(self, cut: int, moments: Moments | Sums | None) -> None:
        """Note that the sweep is complete, and with it the moments of the norm at its last cut."""
        self._synced()
        norm = {} if moments is None else {"norm": [cut, moments.total.to_json()]}
        self._note({"at": [self.picture, self.sweep + 1, 0], **norm})

    def written(self, rows: int, states: Sequence[Sequence[State]]) -> None:
        """Note the new states of the outputs, none or one of each, whose bytes are on disk.

        Args:
            rows: Rows of the picture that were computed. The states say how many of them each output has.
            states: The states.
        """
        self.folder.sync()
        self._note({"at": [self.picture, self.sweep, rows], "outputs": states})

    def picture_done(self, states: Sequence[Sequence[State]]) -> None:
        """Note that all outputs have the whole picture on disk, and the last state of each."""
        self.folder.sync()
        self._note({"at": [self.picture + 1, 0, 0], "outputs": states})

    def _is_slow(self, rows: int) -> bool:
        """Whether a block of rows may take long, judged by the rows since the last note."""
        since, before = self._last
        return BLOCK * (time.monotonic() - since) >= SLOW * (rows - before)

    def _note(self, note: dict[str, Any]) -> None:
        self.folder.note(note)
        self._apply(note)
        self._next = time.monotonic() + SECONDS

    def _apply(self, note: dict[str, Any]) -> None:
        picture, self.sweep, self.rows = map(int, note["at"])
        self.stored = int(note.get("stored", 0))
        self.moments = Merged.from_json(note["moments"]) if "moments" in note else None
        self.others = Others.from_json(note["others"]) if "others" in note else None
        if "norm" in note:
            cut, moments = note["norm"]
            self.norms[int(cut)] = Merged.from_json(moments)
        for pictures, states in zip(self.outputs, note.get("outputs", ()), strict=False):
            pictures[-1].extend(states)
        if picture != self.picture:
            self.picture, self.norms = picture, {}
            for pictures in self.outputs:
                pictures.append([])

    def _synced(self) -> int:
        """Bring the files of the sweep to the disk. Return their rows."""
        for file in self._files:
            file.sync()
        return min((file.rows for file in self._files), default=0)
