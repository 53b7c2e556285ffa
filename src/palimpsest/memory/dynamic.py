"""Dynamic memory: slots that are allocated, freed, collected when hardly used, and moved together."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from palimpsest.layers.activation import sigmoid, softplus
from palimpsest.layers.linear import Linear
from palimpsest.memory.addressing import allocation, content_weights, erase_and_add, read
from palimpsest.memory.control import Control, heard, seen
from palimpsest.memory.dnc import next_usage
from palimpsest.memory.sizes import at_least_one, within

Slots = Float[Tensor, "runs batch slots dim"]
PerSlot = Float[Tensor, "runs batch slots"]


class DynamicState(NamedTuple):
    """What a :class:`DynamicMemory` carries from step to step."""

    slots: Slots
    usage: PerSlot
    """u in [0, 1]: how little a slot may be given away; without what was written last, as in the DNC."""
    read_weights: Float[Tensor, "runs batch heads slots"]
    write_weights: Float[Tensor, "runs batch 1 slots"]


def occupancy(state: DynamicState) -> PerSlot:
    """Usage with what was written last: u + w^w − u w^w, in [0, 1]."""
    return state.usage + (1 - state.usage) * state.write_weights.squeeze(2)


def living(state: DynamicState, threshold: float) -> Bool[Tensor, "runs batch slots"]:
    """Which slots hold something: those whose occupancy reaches the threshold and is not zero."""
    occupied = occupancy(state).detach()
    return (occupied >= threshold) & (occupied > 0)


def utilisation(state: DynamicState, threshold: float) -> Float[Tensor, "runs batch"]:
    """Share of slots that hold something, in [0, 1]."""
    return living(state, threshold).to(state.usage.dtype).mean(-1)


def collect(slots: Slots, usage: PerSlot, threshold: float) -> tuple[Slots, PerSlot]:
    """Garbage collection: M(i) ← 0 and u(i) ← 0 wherever u(i) < θ; all other slots stay as they are.

    Which slots are collected has no gradient.

    Args:
        slots: M.
        usage: u.
        threshold: θ in [0, 1]; 0 collects nothing.
    """
    kept = (usage.detach() >= threshold).to(usage.dtype)
    return slots * kept[..., None], usage * kept


def compact(state: DynamicState, threshold: float) -> DynamicState:
    """Move the living slots together at the front, in the order in which they stand, and the others behind them.

    A permutation π of slots: M ← M[π], and likewise usage and weightings. What content finds is the same from whatever
    slot it is read: reads before and after agree, but for the order in which sums are taken.

    Args:
        state: before.
        threshold: which slots live, see :func:`living`.
    """
    order = (~living(state, threshold)).to(torch.uint8).argsort(dim=-1, stable=True)

    def moved(weights: Tensor) -> Tensor:
        return weights.gather(-1, order[:, :, None].expand_as(weights))

    return DynamicState(
        slots=state.slots.gather(2, order[..., None].expand_as(state.slots)),
        usage=state.usage.gather(-1, order),
        read_weights=moved(state.read_weights),
        write_weights=moved(state.write_weights),
    )


class DynamicMemory(nn.Module):
    """A memory that finds room for what it writes and takes back what is no longer used.

        u_t = (u_{t−1} + w^w_{t−1} − u_{t−1} ∘ w^w_{t−1}) ∘ ψ_t                    usage    [Graves 2016, Methods]
        M(i) ← 0, u(i) ← 0 wherever u_t(i) < θ                                     collection
        w^w_t = g_t a(u_t)                                                         allocation    [Graves 2016, eq. 1]
        M_t(i) = (1 − w^w_t(i)) M(i) + w^w_t(i) v_t                                write
        w^r_t = C(M_t, k_t, β_t),  r_t = Σ_i w^r_t(i) M_t(i)                       read by content

    with ψ_t = Π_h (1 − f^h_t w^{r,h}_{t−1}) for free gates f. It is what a DNC does about room and nothing else: no
    temporal links, no write by content (a write always takes the least used slots, and replaces what they held), but a
    threshold below which a slot is emptied, and compaction, neither of which the DNC has.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N.
        slot_dim: W.
        num_read_heads: H; features out are H W.
        threshold: θ in [0, 1].
        compaction: whether living slots are moved together after every step; see :func:`compact`.

    Raises:
        ParameterError: a size is below one, or θ outside [0, 1].
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
        """Slots that are all free."""
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
        """Free, collect, write, read."""
        heads, dim = self.num_read_heads, self.slot_dim
        keys, value, strengths, gates = self.project(x).split([heads * dim, dim, heads, heads + 1], -1)
        free_gates, write_gate = sigmoid(gates).split([heads, 1], -1)
        usage = next_usage(state.usage, state.write_weights, state.read_weights, free_gates)
        slots, usage = collect(state.slots, usage, self.threshold)
        write_weights = (write_gate * allocation(usage))[:, :, None]
        slots = erase_and_add(slots, write_weights, torch.ones_like(value)[:, :, None], value[:, :, None])
        visible = seen(slots, control)
        read_weights = content_weights(keys.unflatten(-1, (heads, dim)), visible, 1 + softplus(strengths))
        after = DynamicState(slots, usage, read_weights, write_weights)
        said = heard(read(visible, read_weights), control).flatten(2)
        return said, compact(after, self.threshold) if self.compaction else after
