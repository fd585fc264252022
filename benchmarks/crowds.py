"""What the model of `planner/forecast.py` says of clusters that nobody has run: tables for docs/clusters.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from zvae_tiled.devices.base import Device
from zvae_tiled.devices.native_cpu.choice import FLOPS, NUMBERS, cpu_device
from zvae_tiled.devices.speeds import Speeds
from zvae_tiled.devices.table import DEVICES
from zvae_tiled.errors import BudgetError
from zvae_tiled.families import config_of
from zvae_tiled.planner.budget import Budget
from zvae_tiled.planner.case import Case, planned_case
from zvae_tiled.planner.forecast import GBIT, Forecast, forecast
from zvae_tiled.planner.layout import resident_bytes
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.quality import Exact, Quality
from zvae_tiled.planner.sampled import Sampled
from zvae_tiled.planner.striped_plan import striped_plan
from zvae_tiled.wording import at_least, duration, size

CORES = 32
"""Cores of a server."""

NETWORK = 10
"""Gbit/s."""

ROOM = Budget(1 << 60, "any")


@dataclass(frozen=True)
class Crowd:
    """Machines that are alike.

    Attributes:
        name: What they are.
        count: How many there are.
        device: The device of each, with the planner's default speeds.
        memory: Bytes that each may use.
    """

    name: str
    count: int
    device: Device
    memory: int


def server() -> Device:
    """Return a server: `CORES` cores, each as fast as the planner assumes of avx512bf16."""
    flops, maps = FLOPS["avx512bf16"] * CORES, NUMBERS * CORES * 2
    return replace(cpu_device(True), speeds=Speeds(flops, maps, flops, maps, 0.5 * maps))


CROWDS = (
    Crowd("8 Macs, 64 GB each", 8, DEVICES["metal"], 48 * 10**9),
    Crowd(f"64 servers, {CORES} cores and 256 GB each", 64, server(), 240 * 10**9),
)


def printed() -> str:
    """Return the tables."""
    return "\n".join([*_sizes(), "", *_scaling()])


def _sizes() -> Iterator[str]:
    """Yield what each crowd takes for each size."""
    yield "| machines | picture | quality | memory of each | time | one machine | moved | most of the time |"
    yield "|---|---|---|---|---|---|---|---|"
    for crowd in CROWDS:
        for side in (16384, 65536):
            case = _case(crowd, side)
            try:
                exact = _forecast(case, crowd, crowd.count)
            except BudgetError as error:
                yield f"| {crowd.name} | {side}² | exact | at least {at_least(error.needed)}: does not fit | | | | |"
                exact = _forecast(case, replace(crowd, memory=ROOM.size), crowd.count)
            else:
                one = duration(_seconds(case, Exact(), crowd.device))
                peak, moved = size(exact.planned.plan.predicted_peak), size(_moved(exact))
                yield (
                    f"| {crowd.name} | {side}² | exact | {peak} | {duration(exact.seconds)} | {one} | {moved} | "
                    f"{exact.limit} |"
                )
            yield _sampled(case, crowd, side, exact)


def _sampled(case: Case, crowd: Crowd, side: int, exact: Forecast) -> str:
    """Return the row of sampled keys. Their sweeps are assumed to be cut into stripes as evenly as those of others."""
    one = _seconds(case, Sampled(), crowd.device)
    redone = exact.parts["computing"] - _seconds(case, Exact(), crowd.device) / crowd.count
    attention = case.chain.attention
    assert attention is not None
    keys = Sampled().keys * 2 * case.chain.steps[attention].inputs * case.itemsize
    parts = {
        **exact.parts,
        "computing": one / crowd.count + max(0.0, redone),
        "keys": keys * (crowd.count - 1) / crowd.count / exact.network,
    }
    moved = size(_moved(exact) - exact.traffic.keys + keys * (crowd.count - 1))
    limit = max(parts, key=parts.__getitem__)
    seconds = duration(sum(parts.values()))
    return f"| {crowd.name} | {side}² | sampled | not modelled | {seconds} | {duration(one)} | {moved} | {limit} |"


def _scaling() -> Iterator[str]:
    """Yield how the time of one size falls with more machines."""
    for crowd in CROWDS:
        roomy, side = replace(crowd, memory=ROOM.size), 16384
        case, one = _case(crowd, side), 0.0
        kind = crowd.name.partition(",")[0].partition(" ")[2]
        yield f"| {kind}, {side}² exact | time | speed-up | tasks and waiting | keys and edges | memory of each |"
        yield "|---|---|---|---|---|---|"
        for count in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512):
            found = _forecast(case, roomy, count)
            one = one or found.seconds
            beside = found.parts["keys"] + found.parts["edges"]
            yield (
                f"| {count} | {duration(found.seconds)} | {one / found.seconds:.1f} | "
                f"{duration(found.parts['tasks'])} | {duration(beside)} | {size(found.planned.plan.predicted_peak)} |"
            )
        yield ""


def _case(crowd: Crowd, side: int) -> Case:
    config = config_of("z-image")
    return planned_case(config, side // config.scale, side // config.scale, crowd.device.name, "bfloat16", 1, "stream")


def _forecast(case: Case, crowd: Crowd, count: int) -> Forecast:
    weights = resident_bytes(case, None, 0).weights
    return forecast(striped_plan(case, crowd.device, count, count, crowd.memory, weights), count, NETWORK * GBIT)


def _seconds(case: Case, quality: Quality, device: Device) -> float:
    """Return the time of one machine that has all the memory that it wants."""
    return make_plan(case, quality, ROOM, device).predicted_seconds


def _moved(found: Forecast) -> int:
    return found.traffic.between + found.traffic.outside
