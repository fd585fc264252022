"""Plans what a worker computes of a striped picture: sweeps over some rows of each map, with the keys of all rows."""

from __future__ import annotations

from dataclasses import replace

from zvae_tiled.chain import Chain
from zvae_tiled.devices.base import Device
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.cost import Costs, Size
from zvae_tiled.planner.layout import Resident, exact_layout
from zvae_tiled.planner.search import fastest, leanest
from zvae_tiled.planner.stage import Stage
from zvae_tiled.planner.storage import Storage
from zvae_tiled.planner.sweeps import SweepCosts

IN_MEMORY = Storage(limit=0)


class _StripeSteps(Costs):
    """Costs of Steps for some rows of a map. The attention asks the keys of all rows."""

    def __init__(self, chain: Chain, size: Size, device: Device, keys: int) -> None:
        super().__init__(chain, size, device)
        self._keys = keys


def stripe_stage(case: Case, rows: int, budget: int, device: Device, weights: int, beside: int) -> Stage:
    """Return the stage of a worker that computes so many rows of the latents at a time.

    Args:
        case: The whole decode or encode.
        rows: Rows of a stripe, with the rows beyond it that it reads or computes.
        budget: Bytes that the worker may use.
        device: The worker's device.
        weights: Bytes of the loaded weights.
        beside: Bytes that the worker holds beside the sweep that runs.

    Returns:
        The fastest stage within the budget. If there is none, the one that needs least, whose peak is beyond it.
    """
    part = replace(case, height=rows, batch=1, output="rows")
    (stage,) = exact_layout(part, Resident(weights, 0)).stages
    stage = replace(stage, base=stage.base + beside)
    steps = _StripeSteps(case.chain, Size(rows, case.width, case.itemsize), device, case.height * case.width)
    # What a sweep reads is needed again if a worker is lost.
    costs = SweepCosts(steps, stage.base, stage.finished, frees=False)
    sweeps = fastest(costs, budget, stage, IN_MEMORY) or leanest(costs, stage, IN_MEMORY)
    assert sweeps is not None, "sweeps that store nothing need no disk"
    return replace(stage, sweeps=tuple(sweeps), needed_flops=costs.needed_flops(stage))


def row_bytes(case: Case, cut: int) -> int:
    """Return the bytes of one row of what is stored at a cut."""
    return case.width * case.chain.factors[cut] * case.chain.channels[cut] * case.itemsize
