"""Where a new vector is placed when it takes a slot whole: in turn, or where the least is lost."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def in_turn(
    steps: Int[Tensor, "runs batch"], num_slots: int, like: Float[Tensor, "*shape"]
) -> Float[Tensor, "runs batch 1 slots"]:
    """1 at slot t mod N, 0 elsewhere: the vector written N steps ago gives way.

    Args:
        steps: t, vectors written so far.
        num_slots: N.
        like: whose type and device the weighting has.
    """
    return _only(steps % num_slots, num_slots).to(like.dtype)


def at_weakest(weight: Float[Tensor, "runs batch slots"]) -> Float[Tensor, "runs batch 1 slots"]:
    """1 at the slot of smallest weight, the first among equals, 0 elsewhere.

    With the weight of a free slot below all others that is the first free slot while there is one, and afterwards the
    vector that was written least.

    Args:
        weight: what a slot is worth, on any scale; finite.
    """
    least = weight.detach() == weight.detach().amin(-1, keepdim=True)
    return (least & (least.cumsum(-1) == 1))[:, :, None].to(weight.dtype)


def _only(slot: Int[Tensor, "runs batch"], num_slots: int) -> Tensor:
    return (torch.arange(num_slots, device=slot.device) == slot[..., None])[:, :, None]
