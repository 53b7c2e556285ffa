"""What is seen of a slot bank: the slots of all heads side by side, each head reading and writing its own."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.memory.slot_bank import BankRecord
from palimpsest.memory.stepwise_trace import read_focus, slots_written
from palimpsest.memory.trace import MemoryTrace

RANGES = {
    "slots_read": (0, 1),
    "write_ratio": (0, 1),
    "heads_apart": (0, 1),
    "heads_apart_swapped": (0, 1),
    "retained": (0, 1),
}


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
    """``slots_written``, ``read_focus``, ``slots_read``, ``heads_apart``, ``retained``: see the functions.

    ``write_ratio``: mean of the weights that a token writes with, over heads.
    ``heads_apart_swapped``: the control of ``heads_apart``, heads swapped from example to example.
    """
    assert trace.read_weighting is not None
    assert trace.write_weighting is not None
    assert trace.usage_steps is not None
    gates = trace.write_weighting.double().sum(-1)
    return {
        "slots_written": slots_written(trace.write_weighting).double().mean((1, 2)),
        "read_focus": read_focus(trace.read_weighting),
        "slots_read": slots_read(trace.read_weighting),
        "write_ratio": gates.mean((1, 2, 3)),
        "heads_apart": heads_apart(gates),
        "heads_apart_swapped": heads_apart(swapped(gates)),
        "retained": retained(gates, trace.usage_steps),
    }


def slots_read(weights: Float[Tensor, "runs batch time heads all_slots"]) -> Float[Tensor, " runs"]:
    """exp(H(w̄))/N, w̄ the mean of a head's reads over examples and time; a mean over heads, in (0, 1]."""
    heads = weights.shape[3]
    share = weights.double().mean((1, 2))
    entropy = -torch.special.xlogy(share, share).sum(-1)
    return (entropy.exp() / (weights.shape[4] // heads)).mean(-1)


def heads_apart(gates: Float[Tensor, "runs batch time heads"]) -> Float[Tensor, " runs"]:
    """Return how differently heads choose when to write: (H(Σ_h p_h / H) − Σ_h H(p_h) / H) / log H, in [0, 1].

    p_h(t) is the share of head h's writes that it makes at step t, over all examples. The numerator is the
    Jensen-Shannon divergence of the heads [Lin 1991, eq. 5.1]: 0 where all write at the same steps, and with one head;
    1 where no two heads write at the same step.

    Args:
        gates: how much each head writes at each step.
    """
    heads = gates.shape[-1]
    if heads == 1:
        return gates.new_zeros(len(gates))
    total = gates.sum(1)
    share = total / total.sum(1, keepdim=True).clamp_min(1e-12)
    of_all = share.mean(-1)
    together = -torch.special.xlogy(of_all, of_all).sum(1)
    alone = -torch.special.xlogy(share, share).sum(1).mean(-1)
    return ((together - alone) / math.log(heads)).clamp(0, 1)


def swapped(gates: Float[Tensor, "runs batch time heads"]) -> Float[Tensor, "runs batch time heads"]:
    """Give head h of example b the writes of head (h + b) mod H: roles that heads have in all examples are lost."""
    heads, examples = gates.shape[-1], torch.arange(gates.shape[1], device=gates.device)
    whose = (torch.arange(heads, device=gates.device) + examples[:, None]) % heads
    return gates.gather(-1, whose[None, :, None].expand_as(gates))


def retained(
    gates: Float[Tensor, "runs batch time heads"], usage: Float[Tensor, "runs batch time all_slots"]
) -> Float[Tensor, " runs"]:
    """Return Σ_i u_T(i) / Σ_t g_t, the share of what was written that the bank still holds at the end.

    As u ← (1 − d) u, then u ← u (1 − w) + w for every write, u_T(i) is the sum of w_t(i) Π (1 − w_s(i)) Π (1 − d_s(i))
    over later writes s and decays. Slots that held something before the first step can only raise it, to 1 at most.
    """
    written = gates.sum((2, 3)).mean(1)
    return (usage[:, :, -1].double().sum(-1).mean(1) / written.clamp_min(1e-12)).clamp_max(1)
