"""Damaged configs, plans and calibrations: refused or ignored, or of use for a plan whose predictions are numbers."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict
from functools import cache
from importlib import metadata

from tests.campaign.mutations import damaged_json, reasons
from tests.campaign.part import Case
from tests.planner.saved import SAVED
from tests.support.running import CONFIG
from tests.support.speeds import speeds
from zvae_tiled import BudgetError, Plan, config_of, plan, read_plan
from zvae_tiled.errors import ConfigError, PlanError
from zvae_tiled.families import PRESETS
from zvae_tiled.planner.calibration import CACHE_VARIABLE, Calibration, calibration_file, load, newest, store
from zvae_tiled.planner.proposal import Proposal
from zvae_tiled.planner.remembered import forget_plans


def attempt_config(case: Case) -> None:
    """Read a damaged config, and plan with it."""
    preset = PRESETS[case.rng.choice(sorted(PRESETS))]
    path = case.folder / "config.json"
    path.write_bytes(damaged_json(case.rng, json.dumps({"_class_name": preset.class_name, **asdict(preset)})))
    try:
        config = config_of(path)
    except ConfigError as error:
        reasons(error)
        return
    path.write_text(json.dumps({"_class_name": config.class_name, **asdict(config)}))
    assert config_of(path) == config, "it is another when it is written and read again"
    try:
        found = plan(config, 4 * config.cell, 4 * config.cell, "1000TB", device="cpu/mlx")
    except (PlanError, BudgetError) as error:
        reasons(error)
        return
    _check(found)


@cache
def _texts() -> list[str]:
    return [text for _, text in sorted(SAVED.items())]


def attempt_plan(case: Case) -> None:
    """Read a damaged plan."""
    text = damaged_json(case.rng, case.rng.choice(_texts())).decode("utf-8", "surrogateescape")
    try:
        found = read_plan(text)
    except PlanError as error:
        reasons(error)
        return
    _check(found)
    back = read_plan(found.to_json())
    assert (back.digest, back.to_json()) == (found.digest, found.to_json()), "it is another when written and read again"


def attempt_calibration(case: Case) -> None:
    """Plan on a machine whose calibration is damaged."""
    os.environ[CACHE_VARIABLE] = str(case.folder / "cache")
    mlx = metadata.version("mlx")
    proposal = Proposal("bfloat16", "avx512bf16", "avx512", 1.3)
    whole = Calibration("cpu", "a device", mlx, 1.25, speeds(), speeds(2e10), 5e8, (proposal,))
    path = store(whole)
    path.write_bytes(damaged_json(case.rng, path.read_text()))
    found, why = load("cpu", "a device", mlx)
    assert why
    assert newest("cpu", mlx) == found or found is None
    assert found is None or found == whole or str(calibration_file(found.kind, found.device, found.mlx)) == str(path)
    forget_plans()
    _check(plan(CONFIG, 64, 64, "1GB"))


def _check(found: Plan) -> None:
    assert found.predicted_peak > 0
    assert found.predicted_flops >= 0
    assert 0 <= found.predicted_seconds < math.inf
    assert str(found)
