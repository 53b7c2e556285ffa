"""What is seen of a slot bank: the slots of all heads side by side, each head reading and writing its own."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.memory.slot_bank import BankRecord
from palimpsest.memory.stepwise_trace import read_focus, slots_written
from palimpsest.memory.trace import MemoryTrace

RANGES = {"slots_read": (0, 1), "write_ratio": (0, 1)}


def trace(record: BankRecord) -> MemoryTrace:
    """Weights over H N slots: those of head h are the slots h N to h N + N − 1."""
    return MemoryTrace(
        read_weighting=over_all_slots(record.read_weights),
        write_weighting=over_all_slots(record.write_weights),
        usage_steps=record.usage.flatten(3),
    )


def over_all_slots(
    weights: Float[Tensor, "runs batch time heads slots"],
) -> Float[Tensor, "runs batch time heads all_slots"]:
    """Place each head's weights at its own slots, zeros at those of other heads."""
    own = torch.eye(weights.shape[3], dtype=weights.dtype, device=weights.device)
    return (weights[..., None, :] * own[..., None]).flatten(4)


def measure(trace: MemoryTrace) -> dict[str, Float[Tensor, " runs"]]:
    """``slots_written``, ``read_focus``, ``slots_read`` and ``write_ratio``; see the functions of these names.

    ``slots_read``: exp(H)/N of the reads of a head, mean over heads: 1 where all slots are read alike.
    ``write_ratio``: mean of the weights that a token writes with, over heads.
    """
    assert trace.read_weighting is not None
    assert trace.write_weighting is not None
    return {
        "slots_written": slots_written(trace.write_weighting).double().mean((1, 2)),
        "read_focus": read_focus(trace.read_weighting),
        "slots_read": slots_read(trace.read_weighting),
        "write_ratio": trace.write_weighting.sum(-1).double().mean((1, 2, 3)),
    }


def slots_read(weights: Float[Tensor, "runs batch time heads all_slots"]) -> Float[Tensor, " runs"]:
    """exp(H(w̄))/N, w̄ the mean of a head's reads over examples and time; a mean over heads, in (0, 1]."""
    heads = weights.shape[3]
    share = weights.double().mean((1, 2))
    entropy = -torch.special.xlogy(share, share).sum(-1)
    return (entropy.exp() / (weights.shape[4] // heads)).mean(-1)
