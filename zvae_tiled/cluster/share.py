"""`Share`: a worker's part of its machine. Workers of one machine share its cores and its memory evenly."""

from __future__ import annotations

from dataclasses import dataclass, replace

from zvae_tiled.errors import BudgetError
from zvae_tiled.order import Order
from zvae_tiled.planner.budget import IN_BYTES, Available, parse_budget
from zvae_tiled.wording import budget_of


@dataclass(frozen=True)
class Share:
    """A worker's part of its machine.

    Attributes:
        workers: Workers on this machine.
        available: Bytes that were available on the machine before the work began.
        limit: What limits them, as in `Available`.
    """

    workers: int
    available: int
    limit: str

    def threads(self, cores: int) -> int:
        """Return how many of the machine's cores a worker uses."""
        return max(1, cores // self.workers)

    def limited(self, order: Order) -> Order:
        """Return the order with this worker's part of the machine's budget. A plan has a budget of its own."""
        if order.plan is not None:
            return order
        budget = parse_budget(order.budget, Available(self.available, self.limit))
        return replace(order, budget=f"{max(1, budget.size // self.workers)}B")

    def told(self, error: BudgetError) -> BudgetError:
        """Return an error of this worker's part as one of the machine's budget; one that needs no memory as it is."""
        if self.workers == 1 or not error.needed:
            return error
        own = error.problem.replace("the budget is", "a worker's part of the budget is").replace(f" ({IN_BYTES})", "")
        part = f"{own}\n{self.workers} workers of one machine share its budget"
        whole = BudgetError(part, f"Use {budget_of(error.needed * self.workers)}, or fewer workers.")
        whole.needed = error.needed * self.workers
        return whole


def available_here() -> Available:
    """Return the memory that workers of this machine can use now."""
    from zvae_tiled.devices.here import available

    return available(0)
