"""Dynamic memory: slots are allocated, freed, emptied when almost unused, and compacted."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from palimpsest.layers.activation import sigmoid, softplus
from palimpsest.layers.linear import Linear
from palimpsest.memory.addressing import allocation, content_weights, erase_and_add, read
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.dnc import next_usage
from palimpsest.memory.sizes import at_least_one, within

Slots = Float[Tensor, "runs batch slots dim"]
PerSlot = Float[Tensor, "runs batch slots"]


class DynamicState(NamedTuple):
    """The state of a :class:`DynamicMemory` between two steps."""

    slots: Slots
    usage: PerSlot
    """u in [0, 1]: 0 if a slot is free, 1 if it must not be overwritten. As in the DNC it excludes the last write."""
    read_weights: Float[Tensor, "runs batch heads slots"]
    write_weights: Float[Tensor, "runs batch 1 slots"]


def occupancy(state: DynamicState) -> PerSlot:
    """Usage including the last write: u + w^w − u w^w, in [0, 1]."""
    return state.usage + (1 - state.usage) * state.write_weights.squeeze(2)


def living(state: DynamicState, threshold: float) -> Bool[Tensor, "runs batch slots"]:
    """True for slots that hold something: their occupancy reaches the threshold and is not zero."""
    occupied = occupancy(state).detach()
    return (occupied >= threshold) & (occupied > 0)


def utilisation(state: DynamicState, threshold: float) -> Float[Tensor, "runs batch"]:
    """Share of slots that hold something, in [0, 1]."""
    return living(state, threshold).to(state.usage.dtype).mean(-1)


def collect(slots: Slots, usage: PerSlot, threshold: float) -> tuple[Slots, PerSlot]:
    """Garbage collection: set M(i) ← 0 and u(i) ← 0 wherever u(i) < θ; all other slots stay as they are.

    The choice of slots has no gradient.

    Args:
        slots: M.
        usage: u.
        threshold: θ in [0, 1]; 0 collects nothing.
    """
    keep = (usage.detach() >= threshold).to(usage.dtype)
    return slots * keep[..., None], usage * keep


def compact(state: DynamicState, threshold: float) -> DynamicState:
    """Move the slots that hold something to the front, and the others behind them; both keep their order.

    This is a permutation π of slots: M ← M[π], and the same for usage and weightings. Addressing by content does not
    depend on slot numbers. So reads before and after are equal, except for the order of summation.

    Args:
        state: before.
        threshold: decides which slots hold something, see :func:`living`.
    """
    order = (~living(state, threshold)).to(torch.uint8).argsort(dim=-1, stable=True)

    def permuted(weights: Tensor) -> Tensor:
        return weights.gather(-1, order[:, :, None].expand_as(weights))

    return DynamicState(
        slots=state.slots.gather(2, order[..., None].expand_as(state.slots)),
        usage=state.usage.gather(-1, order),
        read_weights=permuted(state.read_weights),
        write_weights=permuted(state.write_weights),
    )


class DynamicMemory(nn.Module):
    """A memory that writes to free slots and frees slots that are no longer used.

        u_t = (u_{t−1} + w^w_{t−1} − u_{t−1} ∘ w^w_{t−1}) ∘ ψ_t                    usage    [Graves 2016, Methods]
        M(i) ← 0, u(i) ← 0 wherever u_t(i) < θ                                     collection
        w^w_t = g_t a(u_t)                                                         allocation    [Graves 2016, eq. 1]
        M_t(i) = (1 − w^w_t(i)) M(i) + w^w_t(i) v_t                                write
        w^r_t = C(M_t, k_t, β_t),  r_t = Σ_i w^r_t(i) M_t(i)                       read by content

    with ψ_t = Π_h (1 − f^h_t w^{r,h}_{t−1}) for free gates f. It has the DNC's management of free slots and nothing
    else: no temporal links and no write by content. A write always goes to the least used slots and replaces their
    content. Two parts are not in the DNC: a threshold below which a slot is emptied, and compaction.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N.
        slot_dim: W.
        num_read_heads: H; features out are H W.
        threshold: θ in [0, 1].
        compaction: whether slots are compacted after every step; see :func:`compact`.

    Raises:
        ParameterError: a size is below one, or θ is outside [0, 1].
    """

    def __init__(
        self,
        runs: int,
        d_in: int,
        num_slots: int,
        slot_dim: int,
        num_read_heads: int = 1,
        *,
        threshold: float = 0.01,
        compaction: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, num_slots=num_slots, slot_dim=slot_dim, num_read_heads=num_read_heads)
        within("threshold", threshold, 0.0, 1.0)
        self.num_slots, self.slot_dim, self.num_read_heads = num_slots, slot_dim, num_read_heads
        self.threshold, self.compaction = threshold, compaction
        self.d_out = num_read_heads * slot_dim
        self.project = Linear(runs, d_in, (num_read_heads + 1) * slot_dim + 2 * num_read_heads + 1)

    def initial_state(self, batch: int) -> DynamicState:
        """Return a state in which all slots are free."""
        weight = self.project.weight
        shape = (len(weight), batch)
        return DynamicState(
            slots=weight.new_zeros(*shape, self.num_slots, self.slot_dim),
            usage=weight.new_zeros(*shape, self.num_slots),
            read_weights=weight.new_zeros(*shape, self.num_read_heads, self.num_slots),
            write_weights=weight.new_zeros(*shape, 1, self.num_slots),
        )

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: DynamicState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], DynamicState]:
        """Free, collect, write, then read."""
        heads, dim = self.num_read_heads, self.slot_dim
        keys, value, strengths, gates = self.project(x).split([heads * dim, dim, heads, heads + 1], -1)
        free_gates, write_gate = sigmoid(gates).split([heads, 1], -1)
        usage = next_usage(state.usage, state.write_weights, state.read_weights, free_gates)
        slots, usage = collect(state.slots, usage, self.threshold)
        write_weights = (write_gate * allocation(usage))[:, :, None]
        slots = erase_and_add(slots, write_weights, torch.ones_like(value)[:, :, None], value[:, :, None])
        visible = shuffle_memory(slots, control)
        read_weights = content_weights(keys.unflatten(-1, (heads, dim)), visible, 1 + softplus(strengths))
        after = DynamicState(slots, usage, read_weights, write_weights)
        outputs = silence_reads(read(visible, read_weights), control).flatten(2)
        return outputs, compact(after, self.threshold) if self.compaction else after


build = DynamicMemory
"""The memory in given sizes, all else by default: see :mod:`palimpsest.memory.named`."""
