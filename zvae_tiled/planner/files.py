"""Writes and reads plans as JSON. Predictions are written for people, and never read back."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from zvae_tiled.checks import TwiceError, once, shown
from zvae_tiled.errors import InputError, PlanError
from zvae_tiled.families import config_from
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.grid import Grid
from zvae_tiled.planner.layout import check_grid, tile_grid
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import QUALITIES, Quality, Whole
from zvae_tiled.planner.stage import AGAIN, EXECUTED, Stage, Sweep
from zvae_tiled.planner.storage import Storage

FORMAT = 3
"""Version of the file format. Increase it when plans saved before can no longer be read."""

MAX_BYTES = 1 << 18
"""The most bytes of a plan: six times the plan of the longest Chain."""

MAX_SWEEPS = 1000

_NOT_ONE = "It is an array: if it holds plans, save one of them by itself."


def written(plan: Plan) -> str:
    """Return a plan as JSON."""
    case = asdict(plan.case)
    case["config"]["_class_name"] = plan.case.config.class_name
    values = {
        "format": FORMAT,
        "case": case,
        "quality": {"name": plan.quality.name, **asdict(plan.quality)},
        "budget": plan.budget,
        "storage": asdict(plan.storage),
        "tile": plan.grid.tile,
        "stages": {
            stage.name: {"keeps": stage.keeps, "sweeps": [asdict(sweep) for sweep in stage.sweeps]}
            for stage in plan.stages
        },
        "predicted": {
            "peak": plan.predicted_peak,
            "seconds": plan.predicted_seconds,
            "flops": plan.predicted_flops,
            "spilled": plan.spilled,
            "weights": plan.weights,
            "gathered": plan.gathered,
        },
    }
    return json.dumps(values, sort_keys=True)


def parse(text: str | bytes) -> Plan:
    """Read a plan. Its predictions are 0 until `replay.costed` computes them for a device.

    Raises:
        PlanError: `text` is not a plan of this version.
    """
    if not isinstance(text, str | bytes):
        raise PlanError(f"a plan must be the text from its to_json(), this is a {type(text).__name__}", "Pass a str.")
    if len(text) > MAX_BYTES:
        raise PlanError(f"a plan has at most {MAX_BYTES:,} bytes, this one has {len(text):,}", AGAIN)
    try:
        values = json.loads(text, object_pairs_hook=once)
        if not isinstance(values, dict):
            raise PlanError(
                "a plan is one JSON object, this is something else", _NOT_ONE if isinstance(values, list) else AGAIN
            )
        if values["format"] != FORMAT:
            raise PlanError(f"the plan has format {shown(values['format'])}, this version reads {FORMAT}", AGAIN)
        return _plan(values)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        if isinstance(error, PlanError):
            raise
        raise PlanError(f"this is not a plan: {_why(error)}", AGAIN) from error


def _why(error: Exception) -> str:
    """Return what is wrong with a plan's text, without the words of Python's readers."""
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "it is no JSON"
    if isinstance(error, TwiceError):
        return str(error)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, KeyError):
        return f"a value is missing or not known: {error!s:.80}"
    if isinstance(error, InputError):  # of the config
        return f"{error.problem:.200}"
    return "a name in it is missing or not known, or a value is of the wrong kind"


def _plan(values: dict[str, Any]) -> Plan:
    fields = values["case"]
    case = Case(**{**fields, "config": config_from(fields["config"], source="the plan's config")})
    case.check()
    quality = _quality(values["quality"])
    quality.check(case.config)
    budget = values["budget"]
    if not isinstance(budget, int) or isinstance(budget, bool) or not 0 < budget <= 1 << 62:
        raise PlanError(f"budget must be a whole number of bytes, it is {shown(budget)}", AGAIN)
    stages = tuple(_stage(name, stage) for name, stage in values["stages"].items())
    grid, storage = _grid(case, quality, values["tile"]), _storage(values.get("storage", {}))
    return Plan(case, quality, budget, grid, (1, 1), stages, storage=storage)


def _storage(values: dict[str, Any]) -> Storage:
    storage = Storage(**values)
    if type(storage.work) is not bool or type(storage.limit) not in (int, type(None)):
        raise PlanError(f"storage must be a limit in bytes and whether there is work, it is {shown(values)}", AGAIN)
    return storage


def _quality(values: dict[str, Any]) -> Quality:
    fields = {name: value for name, value in values.items() if name != "name"}
    return QUALITIES[values["name"]](**fields)


def _grid(case: Case, quality: Quality, tile: Any) -> Grid:
    if not isinstance(tile, list) or len(tile) != 2 or not all(type(side) is int and side > 0 for side in tile):
        raise PlanError(f"tile must be rows and columns of latents, it is {shown(tile)}", AGAIN)
    if isinstance(quality, Whole):
        return Grid(case.height, case.width, (case.height, case.width))
    grid = tile_grid(case, quality, (tile[0], tile[1]))
    check_grid(grid, case.config.scale)
    return grid


def _stage(name: str, values: dict[str, Any]) -> Stage:
    sweeps = values["sweeps"]
    if not isinstance(sweeps, list) or len(sweeps) > MAX_SWEEPS:
        raise PlanError(f"a stage has at most {MAX_SWEEPS:,} sweeps", AGAIN)
    executed = tuple(Sweep(**{field: sweep[field] for field in EXECUTED}) for sweep in sweeps)
    return Stage(name, 0, 0, keeps=values["keeps"], sweeps=executed)
