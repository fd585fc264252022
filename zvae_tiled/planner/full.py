"""The plan of a full decode: every map is computed at once and kept, as a model without bands would do it."""

from __future__ import annotations

from dataclasses import replace

from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.replay import costed


def full_plan(roomy: Plan) -> Plan:
    """Return the plan with bands as tall as their maps.

    Args:
        roomy: An exact plan that keeps every map, because its budget is ample.
    """
    assert roomy.device is not None
    factors, height = roomy.case.chain.factors, roomy.case.height
    (stage,) = roomy.stages
    sweeps = tuple(replace(sweep, rows=height * factors[sweep.start]) for sweep in stage.sweeps)
    return costed(replace(roomy, stages=(replace(stage, sweeps=sweeps),)), roomy.device, roomy.weights, roomy.gathered)
