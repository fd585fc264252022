"""Plans as JSON: written, read back, and refused where they are none of this version."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from zvae_tiled.config import VAEConfig
from zvae_tiled.errors import PlanError
from zvae_tiled.plan.grid import Span
from zvae_tiled.plan.plan import AGAIN, Plan, Stage, Sweep
from zvae_tiled.plan.quality_plan import QualityPlan
from zvae_tiled.plan.request import Request

FORMAT = 1
"""Raised when a plan saved before would not be understood."""


ALONE = "It is an array: if it holds plans, save one of them by itself."


def saved(plan: Plan | QualityPlan) -> str:
    """Return a plan as JSON."""
    return json.dumps({"format": FORMAT, **asdict(plan)}, sort_keys=True)


def read_plan(text: str) -> Plan | QualityPlan:
    """Read a plan of any quality back, as its ``to_json`` wrote it.

    Raises:
        PlanError: The text is no plan of this version.
    """
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise PlanError(
                "a plan is one JSON object, this is something else", ALONE if isinstance(values, list) else AGAIN
            )
        version = values.pop("format")
        if version != FORMAT:
            raise PlanError(f"the plan is of format {version}, this version reads format {FORMAT}", AGAIN)
        plan = _quality(values) if "request" in values else _exact(values)
        plan.check()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        if isinstance(error, PlanError):
            raise
        raise PlanError(f"this is no plan: {type(error).__name__}: {error}", AGAIN) from error
    return plan


def _exact(values: dict[str, Any]) -> Plan:
    stage = values["stage"]
    return Plan(
        **{
            **values,
            "config": _config(values),
            "stage": Stage(**{**stage, "known": tuple(stage["known"])}),
            "sweeps": tuple(Sweep(**sweep) for sweep in values["sweeps"]),
        }
    )


def _quality(values: dict[str, Any]) -> QualityPlan:
    asked = values["request"]
    pairs = {name: None if asked[name] is None else tuple(asked[name]) for name in ("tile", "overlap")}
    stages = {name: values[name] for name in ("middle", "statistics", "pixels")}
    return QualityPlan(
        **{
            **values,
            "config": _config(values),
            "request": Request(**{**asked, **pairs}),
            "rows": tuple(Span(**span) for span in values["rows"]),
            "columns": tuple(Span(**span) for span in values["columns"]),
            "factors": tuple(values["factors"]),
            **{name: None if stage is None else _exact(stage) for name, stage in stages.items()},
        }
    )


def _config(values: dict[str, Any]) -> VAEConfig:
    return VAEConfig.from_dict(values["config"], source="the plan's config")
