"""What a sweep of a video's frame costs: a causal convolution runs three kernels, and carries two maps."""

from __future__ import annotations

from dataclasses import replace

from zvae_tiled.chain import Step, earlier
from zvae_tiled.planner.cost import Costs, StepCost

KERNELS = 3
"""Kernels of a causal convolution, one for each frame that it reads."""


class CausalCosts(Costs):
    """Costs of every Step of a Chain that runs frame by frame. The maps that are carried are counted elsewhere."""

    def _step(self, cut: int, rows: int, given: int) -> StepCost:
        cost, step = super()._step(cut, rows, given), self.chain.steps[cut]
        if step.frames == 1:
            return cost
        result = cost.passed * self.size.width * self.chain.factors[cut] * step.outputs * self.size.itemsize
        # Rows of both maps as they are read, and joined; the frame's own result beside what is carried.
        beside = 5 * result + (self._workspace.added(result) if step.closes else 0)
        others = [self._workspace.prepared(each, self.size.itemsize) for each in earlier(step)]
        return replace(
            cost,
            working=cost.working + beside,
            prepared=cost.prepared + sum(held for held, _ in others),
            preparing=max(cost.preparing, *(spike for _, spike in others)),
            working_anew=cost.working_anew + beside,
        )

    def _flops(self, cut: int) -> int:
        step = self.chain.steps[cut]
        return super()._flops(cut) * (KERNELS if step.frames > 1 else 1)

    def _preparing(self, cut: int) -> float:
        """Return the seconds in which the weights of the Step at `cut` are prepared once."""
        return super()._preparing(cut) * (KERNELS if self.chain.steps[cut].frames > 1 else 1)


def carried_bytes(step: Step, rows: int, width: int, itemsize: int) -> int:
    """Return the bytes that a Step carries from frame to frame, of a result of this size."""
    return 2 * rows * width * step.outputs * itemsize
