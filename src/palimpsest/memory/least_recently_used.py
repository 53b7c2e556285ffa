"""Least recently used access: the memory of a memory-augmented network, which writes to the least recently used slots.

[Santoro et al. 2016], "One-shot Learning with Memory-Augmented Neural Networks". With a controller before it, this is
source 004's ``MemoryAugmentedNetwork``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.layers.activation import sigmoid, softplus
from palimpsest.layers.linear import Linear
from palimpsest.memory.addressing import content_weights, erase_and_add, interpolate, read
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.sizes import at_least_one, within

Weighting = Float[Tensor, "runs batch heads slots"]
PerSlot = Float[Tensor, "runs batch slots"]


class LeastRecentlyUsedState(NamedTuple):
    """The state of a :class:`LeastRecentlyUsedAccess` between two steps."""

    slots: Float[Tensor, "runs batch slots dim"]
    usage: PerSlot
    """In [0, 1]: the paper's w^u, times (1 − γ) / 2H."""
    read_weights: Weighting
    write_weights: Weighting


def next_usage(usage: PerSlot, read_weights: Weighting, write_weights: Weighting, decay: float) -> PerSlot:
    """w^u_t = γ w^u_{t−1} + w^r_t + w^w_t    [Santoro 2016, eq. 5, summed over heads].

    Deviates: the added weights are multiplied by (1 − γ) / 2H, so that usage stays in [0, 1]. This factor does not
    change the order of slots by usage.

    Args:
        usage: w^u_{t−1}.
        read_weights: w^r_t of H heads.
        write_weights: w^w_t of H heads.
        decay: γ in [0, 1).
    """
    share = (1 - decay) / (2 * read_weights.shape[2])
    return decay * usage + share * (read_weights + write_weights).sum(2)


def least_used(usage: PerSlot, num_heads: int) -> Weighting:
    """w^lu: for head h, 1 at the slot with the h-th smallest usage, 0 elsewhere    [Santoro 2016, eq. 6].

    Deviates: the paper marks every slot whose usage does not exceed the n-th smallest; with equal usages these are more
    than n slots. Here exactly one slot a head is marked; of slots with equal usage the first. There is no gradient.

    Args:
        usage: w^u.
        num_heads: H, at most N.
    """
    order = usage.detach().sort(dim=-1, stable=True).indices[..., :num_heads]
    slot = torch.arange(usage.shape[-1], device=usage.device)
    return (order[..., None] == slot).to(usage.dtype)


class LeastRecentlyUsedAccess(nn.Module):
    """Reads by content; writes to the slots read last, or over the least used slots.

        w^lu_{t−1} from w^u_{t−1}    [Santoro 2016, eq. 6];    M(i) ← 0 wherever w^lu_{t−1} is 1
        w^w_t = σ(α_t) w^r_{t−1} + (1 − σ(α_t)) w^lu_{t−1}    [eq. 7]
        M_t(i) = M_{t−1}(i) + w^w_t(i) k_t    [eq. 8]
        w^r_t = softmax(β_t cos(k_t, M_t(i))),  r_t = Σ_i w^r_t(i) M_t(i)    [eqs. 2 to 4]
        w^u_t = γ w^u_{t−1} + w^r_t + w^w_t    [eq. 5]

    Each head has one key, which is both written and compared with slots, as in the paper.

    Deviates: β_t = 1 + log(1 + e^z) is learned; eq. 3 has β = 1, which blurs every read. With several heads, each head
    has its own least used slot, gate and key; the paper erases one slot and leaves open how heads share it. The memory
    starts at zero with equal usages; the first slot then counts as the least used one.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N.
        slot_dim: W.
        num_read_heads: H, at most N; features out are H W.
        decay: γ in [0, 1); 0.99 in the paper's experiments.

    Raises:
        ParameterError: a size is below one, there are more heads than slots, or γ lies outside [0, 1).
    """

    def __init__(
        self, runs: int, d_in: int, num_slots: int, slot_dim: int, num_read_heads: int = 1, *, decay: float = 0.99
    ) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, num_slots=num_slots, slot_dim=slot_dim)
        within("num_read_heads", num_read_heads, 1, num_slots)
        within("decay", decay, 0.0, 1 - 1e-9)
        self.num_slots, self.slot_dim, self.num_read_heads = num_slots, slot_dim, num_read_heads
        self.decay = decay
        self.d_out = num_read_heads * slot_dim
        self.project = Linear(runs, d_in, num_read_heads * (slot_dim + 2))

    def initial_state(self, batch: int) -> LeastRecentlyUsedState:
        """Return empty slots that were never used."""
        weight = self.project.weight
        shape = (len(weight), batch)
        no_weights = weight.new_zeros(*shape, self.num_read_heads, self.num_slots)
        return LeastRecentlyUsedState(
            slots=weight.new_zeros(*shape, self.num_slots, self.slot_dim),
            usage=weight.new_zeros(*shape, self.num_slots),
            read_weights=no_weights,
            write_weights=no_weights,
        )

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: LeastRecentlyUsedState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], LeastRecentlyUsedState]:
        """Erase, write, then read."""
        heads, dim = self.num_read_heads, self.slot_dim
        keys, gates, strengths = self.project(x).split([heads * dim, heads, heads], -1)
        keys = keys.unflatten(-1, (heads, dim))
        unused = least_used(state.usage, heads)
        write_weights = interpolate(state.read_weights, unused, sigmoid(gates))
        emptied = state.slots * (1 - unused.sum(2))[..., None]
        slots = erase_and_add(emptied, write_weights, torch.zeros_like(keys), keys)
        visible = shuffle_memory(slots, control)
        read_weights = content_weights(keys, visible, 1 + softplus(strengths))
        usage = next_usage(state.usage, read_weights, write_weights, self.decay)
        outputs = silence_reads(read(visible, read_weights), control).flatten(2)
        return outputs, LeastRecentlyUsedState(slots, usage, read_weights, write_weights)


build = LeastRecentlyUsedAccess
"""The memory in given sizes, all else by default: see :mod:`palimpsest.memory.named`."""
