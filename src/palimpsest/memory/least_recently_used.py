"""Least recently used access: the memory of a memory-augmented network, which writes where it has not been for long.

[Santoro et al. 2016], "One-shot Learning with Memory-Augmented Neural Networks". With a controller before it, this is
the ``MemoryAugmentedNetwork`` of source 004.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.layers.activation import sigmoid, softplus
from palimpsest.layers.linear import Linear
from palimpsest.memory.addressing import content_weights, erase_and_add, interpolate, read
from palimpsest.memory.control import Control, heard, seen
from palimpsest.memory.sizes import at_least_one, within

Weighting = Float[Tensor, "runs batch heads slots"]
PerSlot = Float[Tensor, "runs batch slots"]


class LeastRecentlyUsedState(NamedTuple):
    """What a :class:`LeastRecentlyUsedAccess` carries from step to step."""

    slots: Float[Tensor, "runs batch slots dim"]
    usage: PerSlot
    """In [0, 1]: the paper's w^u, times (1 − γ) / 2H."""
    read_weights: Weighting
    write_weights: Weighting


def next_usage(usage: PerSlot, read_weights: Weighting, write_weights: Weighting, decay: float) -> PerSlot:
    """w^u_t = γ w^u_{t−1} + w^r_t + w^w_t    [Santoro 2016, eq. 5, summed over heads].

    Deviates: what is added is multiplied with (1 − γ) / 2H, so that usage stays in [0, 1]; which of two slots is used
    less does not depend on it.

    Args:
        usage: w^u_{t−1}.
        read_weights: w^r_t of H heads.
        write_weights: w^w_t of H heads.
        decay: γ in [0, 1).
    """
    share = (1 - decay) / (2 * read_weights.shape[2])
    return decay * usage + share * (read_weights + write_weights).sum(2)


def least_used(usage: PerSlot, num_heads: int) -> Weighting:
    """w^lu: for head h, 1 at the slot used h-th least, 0 elsewhere    [Santoro 2016, eq. 6].

    Deviates: the paper marks every slot whose usage does not exceed the n-th smallest, which for tied usages is more
    than n of them; here there are as many as heads, of equals the first. No gradient.

    Args:
        usage: w^u.
        num_heads: H, at most N.
    """
    order = usage.detach().sort(dim=-1, stable=True).indices[..., :num_heads]
    slot = torch.arange(usage.shape[-1], device=usage.device)
    return (order[..., None] == slot).to(usage.dtype)


class LeastRecentlyUsedAccess(nn.Module):
    """Reads by content; writes where it last read, or over what has been used least.

        w^lu_{t−1} from w^u_{t−1}    [Santoro 2016, eq. 6];    M(i) ← 0 wherever w^lu_{t−1} is 1
        w^w_t = σ(α_t) w^r_{t−1} + (1 − σ(α_t)) w^lu_{t−1}    [eq. 7]
        M_t(i) = M_{t−1}(i) + w^w_t(i) k_t    [eq. 8]
        w^r_t = softmax(β_t cos(k_t, M_t(i))),  r_t = Σ_i w^r_t(i) M_t(i)    [eqs. 2 to 4]
        w^u_t = γ w^u_{t−1} + w^r_t + w^w_t    [eq. 5]

    One key a head is written and looked for, as in the paper.

    Deviates: β_t = 1 + log(1 + e^z) is learned, where eq. 3 has 1, which blurs every read; with several heads each has
    a least used slot, a gate and a key of its own, of which the paper does not say how they share the one that it
    erases; the memory begins at zero and the usages tied, of which the first slot counts as least used.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N.
        slot_dim: W.
        num_read_heads: H, at most N; features out are H W.
        decay: γ in [0, 1), .99 in the paper's experiments.

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
        """Slots that hold nothing and were never used."""
        weight = self.project.weight
        shape = (len(weight), batch)
        nowhere = weight.new_zeros(*shape, self.num_read_heads, self.num_slots)
        return LeastRecentlyUsedState(
            slots=weight.new_zeros(*shape, self.num_slots, self.slot_dim),
            usage=weight.new_zeros(*shape, self.num_slots),
            read_weights=nowhere,
            write_weights=nowhere,
        )

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: LeastRecentlyUsedState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], LeastRecentlyUsedState]:
        """Erase, write, read."""
        heads, dim = self.num_read_heads, self.slot_dim
        keys, gates, strengths = self.project(x).split([heads * dim, heads, heads], -1)
        keys = keys.unflatten(-1, (heads, dim))
        unused = least_used(state.usage, heads)
        write_weights = interpolate(state.read_weights, unused, sigmoid(gates))
        emptied = state.slots * (1 - unused.sum(2))[..., None]
        slots = erase_and_add(emptied, write_weights, torch.zeros_like(keys), keys)
        visible = seen(slots, control)
        read_weights = content_weights(keys, visible, 1 + softplus(strengths))
        usage = next_usage(state.usage, read_weights, write_weights, self.decay)
        said = heard(read(visible, read_weights), control).flatten(2)
        return said, LeastRecentlyUsedState(slots, usage, read_weights, write_weights)
