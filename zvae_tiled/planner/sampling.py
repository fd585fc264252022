"""What the sweeps cost that sample the attention's keys: bytes and flops. It follows `engine/sampled.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zvae_tiled.devices.workspace import KEYS_WEIGHED, block_rows
from zvae_tiled.planner.sampled import asked_rows
from zvae_tiled.planner.stage import Ending

if TYPE_CHECKING:
    from zvae_tiled.planner.cost import Costs

STRIP = 32
"""Keys of one octave of importance that are stored together: fewer wait."""

OCTAVES = 40
"""The most octaves that importance is divided into."""


class SamplingCosts:
    """Costs of sampling the keys of one attention."""

    def __init__(self, costs: Costs, cut: int) -> None:
        """Take the costs of the Chain's Steps, and the cut of the attention."""
        self._costs, self._cut = costs, cut
        size, self._channels = costs.size, costs.chain.steps[cut].inputs
        self._rows = asked_rows(size.height, size.width)
        self._asked = self._rows * size.width
        self._block = block_rows(size.width) * size.width * 2 * self._channels * size.itemsize

    def flops(self, ends: Ending) -> int:
        """Return multiplications and additions of a sweep, the keys themselves included."""
        size = self._costs.size
        if ends == "queries":
            return 0
        asked = {"sums": 4 * size.height * size.width, "shares": 2 * size.height * size.width}
        kept = 0 if self._costs.sampled is None else 4 * self._costs.sampled
        return self._costs.key_flops(self._cut) + self._asked * self._channels * asked.get(ends, kept)

    def working(self, ends: Ending, rows: int) -> int:
        """Return the bytes of a sweep beside stored maps and kept keys, for bands of `rows` rows."""
        costs, itemsize, channels, asked = self._costs, self._costs.size.itemsize, self._channels, self._asked
        # The map at the queries, the queries themselves, their answers, and the shares of all keys.
        held = asked * channels * (itemsize + 8) + 2 * costs.size.height * costs.size.width
        if ends == "queries":
            return held + 2 * min(rows, costs.map_rows(self._cut)) * costs.row_bytes(self._cut) + held
        # Keys wait until their block is complete, and are copied into it.
        band = min(rows, costs.map_rows(self._cut)) * costs.size.width * 2 * channels * itemsize
        reading = costs.gather_keys(self._cut, rows) + band + 3 * self._block
        step = costs.chain.steps[self._cut]
        attending = costs.device.workspace.attend(step, self._rows, costs.size.width, itemsize)
        asking = self._block + attending + asked * channels * (itemsize + 8)
        # The copies that MLX makes. Native kernels need less: 512 keys at a time, one score of each, packed probes.
        weighing = 2 * self._block // itemsize * 4 + KEYS_WEIGHED * (4 * channels + 12 * asked) + asked * channels * 8
        keeping = 2 * self._block + 2 * OCTAVES * STRIP * 2 * channels * itemsize
        return held + reading + {"sums": asking, "shares": weighing}.get(ends, max(keeping, asking))
