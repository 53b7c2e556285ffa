"""What becomes of a proposal for the slots of a lifecycle memory: as source 001 published it, and repaired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from palimpsest.memory import lifecycle
from palimpsest.memory.lifecycle import LifecycleState, Proposal, Step


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

    def step(
        self,
        state: LifecycleState,
        proposal: Proposal,
        context: Tensor,
        threshold: Tensor,
        gate: Tensor | None,
        noise: Tensor | None,
    ) -> Step:
        """Execute what the budget allows; neither a gate nor chance has a part in it."""
        del gate, noise
        allocation = lifecycle.allocate_ranked(proposal, threshold, self.budget)
        return lifecycle.step_ranked(state, proposal, allocation, context, self.utilisation_cap)


@dataclass(frozen=True)
class Requested:
    """Repaired: only what is not retained competes for the budget, and decisions may carry a gradient."""

    gated: ClassVar[bool] = True
    budget: int
    utilisation_cap: float
    straight_through: bool
    """Whether the task loss reaches the decisions and what is written."""

    def step(
        self,
        state: LifecycleState,
        proposal: Proposal,
        context: Tensor,
        threshold: Tensor,
        gate: Tensor | None,
        noise: Tensor | None,
    ) -> Step:
        """Execute what the budget allows.

        Args:
            state: the memory before the step.
            proposal: what is wanted.
            context: (R, B, D), what a write puts into a slot.
            threshold: τ, (R,).
            gate: (R, B, N, D), how far an update moves each feature of a slot; ``None``: halfway.
            noise: (R, B, N), uniform, draws the slot that a write takes in a full memory; ``None``: that which is most
                likely to be forgotten.
        """
        cap, learns = self.utilisation_cap, self.straight_through
        allocation = lifecycle.allocate_requested(state, proposal, threshold, self.budget, cap, straight_through=learns)
        candidate = context if learns else context.detach()
        return lifecycle.step_requested(state, proposal, allocation, candidate, gate, cap, noise)


Rules = Ranked | Requested
