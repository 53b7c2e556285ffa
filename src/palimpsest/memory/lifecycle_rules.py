"""What becomes of a proposal for the slots of a lifecycle memory: as source 001 published it, and repaired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from jaxtyping import Float
from torch import Tensor

from palimpsest.memory import lifecycle
from palimpsest.memory.lifecycle import LifecycleState, Proposal, Step


class Wanted(NamedTuple):
    """What a step is to do; axes R runs, B batch, N slots, D features."""

    proposal: Proposal
    context: Float[Tensor, "runs batch dim"]
    """What a write puts into a slot."""
    threshold: Float[Tensor, " runs"]
    """τ."""
    gate: Float[Tensor, "runs batch slots dim"] | None
    """How far an update moves each feature of a slot; ``None``: halfway."""
    noise: Float[Tensor, "runs batch slots"] | None
    """Uniform, draws the slot that a write takes in a full memory; ``None``: that which is most likely to be
    forgotten."""


@dataclass(frozen=True)
class Ranked:
    """As published: whatever a slot does competes for the budget, and no decision carries a gradient."""

    gated: ClassVar[bool] = False
    """Whether an update has a gate; without one it moves a slot halfway."""
    straight_through: ClassVar[bool] = False
    budget: int
    """Operations that a step executes at most."""
    utilisation_cap: float
    """Share of living slots from which on nothing is written."""

    def step(self, state: LifecycleState, wanted: Wanted) -> Step:
        """Execute what the budget allows; neither a gate nor chance has a part in it."""
        allocation = lifecycle.allocate_ranked(wanted.proposal, wanted.threshold, self.budget)
        return lifecycle.step_ranked(state, wanted.proposal, allocation, wanted.context, self.utilisation_cap)


@dataclass(frozen=True)
class Requested:
    """Repaired: only what is not retained competes for the budget, and decisions may carry a gradient."""

    gated: ClassVar[bool] = True
    budget: int
    utilisation_cap: float
    straight_through: bool
    """Whether the task loss reaches the decisions and what is written."""

    def step(self, state: LifecycleState, wanted: Wanted) -> Step:
        """Execute what the budget allows."""
        cap, learns, proposal = self.utilisation_cap, self.straight_through, wanted.proposal
        allocation = lifecycle.allocate_requested(
            state, proposal, wanted.threshold, self.budget, cap, straight_through=learns
        )
        candidate = wanted.context if learns else wanted.context.detach()
        return lifecycle.step_requested(state, proposal, allocation, candidate, wanted.gate, cap, wanted.noise)


Rules = Ranked | Requested
