"""Replacement by rule: write what comes, and when there is no room give up the slot of lowest priority."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.memory.lifecycle import LifecycleState, Proposal, is_full


def displace(
    state: LifecycleState,
    priority: Float[Tensor, "runs batch slots"],
    wanted: Float[Tensor, "runs batch"],
    utilisation_cap: float,
) -> Proposal:
    """Ask for a write where it is wanted, and for the forgetting of one slot where it would find no room.

    Args:
        state: the memory before the step.
        priority: the slot of lowest priority is given up, the first among equals.
        wanted: 1 where the step's context is to be written, else 0.
        utilisation_cap: share of slots that may live at the same time.
    """
    alive = state.alive.detach() > 0.5
    victim = priority.masked_fill(~alive, torch.inf).argmin(-1, keepdim=True)
    slots = torch.arange(alive.shape[-1], device=alive.device)
    given_up = (slots == victim) & alive & (is_full(state, utilisation_cap) & (wanted > 0.5))[..., None]
    actions = torch.stack([~given_up, torch.zeros_like(given_up), given_up], -1).to(state.alive.dtype)
    return Proposal(actions, wanted)
