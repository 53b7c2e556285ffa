"""Placement of a new vector that replaces a whole slot: slots in turn, or the slot of least value."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def in_turn(
    steps: Int[Tensor, "runs batch"], num_slots: int, like: Float[Tensor, "*shape"]
) -> Float[Tensor, "runs batch 1 slots"]:
    """Return 1 at slot t mod N, 0 elsewhere: the vector written N steps ago is overwritten.

    Args:
        steps: t, number of vectors written so far.
        num_slots: N.
        like: a tensor of the wanted type and device.
    """
    return _one_hot(steps % num_slots, num_slots).to(like.dtype)


def at_weakest(weight: Float[Tensor, "runs batch slots"]) -> Float[Tensor, "runs batch 1 slots"]:
    """Return 1 at the slot of smallest weight, 0 elsewhere; of equal weights the first.

    If free slots have the smallest weight, this is the first free slot, or the most weakly written slot if none is
    free.

    Args:
        weight: value of a slot, on any scale; finite.
    """
    least = weight.detach() == weight.detach().amin(-1, keepdim=True)
    return (least & (least.cumsum(-1) == 1))[:, :, None].to(weight.dtype)


def _one_hot(slot: Int[Tensor, "runs batch"], num_slots: int) -> Tensor:
    return (torch.arange(num_slots, device=slot.device) == slot[..., None])[:, :, None]
