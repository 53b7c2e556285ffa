"""Associative memory: Hopfield networks, modern and classical, that recall a stored pattern from a part of it.

[Ramsauer et al. 2021], "Hopfield Networks is All You Need"; [Hopfield 1982], "Neural networks and physical systems with
emergent collective computational abilities".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.activation import softplus
from palimpsest.layers.linear import Linear
from palimpsest.layers.product import product
from palimpsest.memory.addressing import dot_similarity, erase_and_add, read
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.placement import at_weakest
from palimpsest.memory.sizes import at_least_one

Query = Float[Tensor, "runs batch heads dim"]
Slots = Float[Tensor, "runs batch slots dim"]
PerHead = Float[Tensor, "runs batch heads"]
PerSlot = Float[Tensor, "runs batch slots"]
Weighting = Float[Tensor, "runs batch heads slots"]


def retrieve(
    query: Query, slots: Slots, strength: PerHead, num_updates: int = 1, log_weight: PerSlot | None = None
) -> tuple[Query, Weighting]:
    """Repeat ξ ← X softmax(β Xᵀ ξ + log a)    [Ramsauer 2021, eq. 3, where every a is 1].

    One update with β = 1/√W is attention in which the patterns are both keys and values. For β → ∞ the update returns
    the stored pattern with the largest product with ξ; among patterns of equal length this is the nearest one.

    Args:
        query: ξ, the state to complete.
        slots: X, one stored pattern a row.
        strength: β > 0, finite.
        num_updates: number of updates; at least 1.
        log_weight: log a, how strongly a pattern is stored; finite, and very negative where a slot is free.

    Returns:
        ξ after the last update, and the softmax weights of that update.

    Raises:
        ParameterError: ``num_updates`` is below one.
    """
    at_least_one(num_updates=num_updates)
    weights = _attention(query, slots, strength, log_weight)
    for _ in range(num_updates - 1):
        weights = _attention(read(slots, weights), slots, strength, log_weight)
    return read(slots, weights), weights


def _attention(query: Query, slots: Slots, strength: PerHead, log_weight: PerSlot | None) -> Weighting:
    return _scores(query, slots, strength, log_weight).softmax(-1)


def _scores(query: Query, slots: Slots, strength: PerHead, log_weight: PerSlot | None) -> Weighting:
    scores = strength[..., None] * dot_similarity(query, slots)
    return scores if log_weight is None else scores + log_weight[:, :, None]


def energy(query: Query, slots: Slots, strength: PerHead, log_weight: PerSlot | None = None) -> PerHead:
    """E(ξ) = −β⁻¹ log Σ_i a_i exp(β x_i·ξ) + ½ ξ·ξ    [Ramsauer 2021, eq. 2, without its constants].

    No update of :func:`retrieve` raises it [Ramsauer 2021, theorem 1].

    Args:
        query: ξ.
        slots: X.
        strength: β > 0.
        log_weight: log a.
    """
    largest = _scores(query, slots, strength, log_weight).logsumexp(-1)
    return (query * query).sum(-1) / 2 - largest / strength


def store_outer_products(patterns: Float[Tensor, "*batch patterns units"]) -> Float[Tensor, "*batch units units"]:
    """T = 1/N Σ_p x_p x_pᵀ with a zero diagonal    [Hopfield 1982, eq. 2, for units −1 and 1].

    Deviates: Hopfield's units are 0 and 1, and his sum has no factor 1/N, which changes no sign.

    Args:
        patterns: x_p, entries −1 and 1.
    """
    units = patterns.shape[-1]
    connections = product(patterns.transpose(-1, -2), patterns) / units
    return connections.masked_fill(torch.eye(units, dtype=torch.bool, device=patterns.device), 0.0)


def recall_signs(
    connections: Float[Tensor, "*batch units units"], state: Float[Tensor, "*batch queries units"], num_updates: int
) -> Float[Tensor, "*batch queries units"]:
    """Classical retrieval: s ← sign(T s); a unit whose input is 0 stays as it is    [Hopfield 1982, eq. 1].

    Up to about 0.138 N random patterns are recalled with few errors; far above this number no pattern is recalled
    [Amit, Gutfreund, Sompolinsky 1985].

    Deviates: all units change at the same time; Hopfield's units change one by one in random order. Both have the same
    fixed points, but here the state may also alternate between two states for ever.

    Args:
        connections: T, symmetric, zero diagonal; see :func:`store_outer_products`.
        state: s, entries −1 and 1.
        num_updates: number of updates; at least 1.

    Raises:
        ParameterError: ``num_updates`` is below one.
    """
    at_least_one(num_updates=num_updates)
    for _ in range(num_updates):
        field = product(state, connections.transpose(-1, -2))
        state = torch.where(field == 0, state, field.sign())
    return state


class AssociativeState(NamedTuple):
    """The state of an :class:`AssociativeMemory` between two steps."""

    slots: Slots
    log_weight: PerSlot
    """log a ≤ 0: how strongly a slot's pattern is stored; very negative where the slot is free."""
    read_weights: Weighting
    write_weights: Float[Tensor, "runs batch 1 slots"]
    """1 at the written slot, 0 elsewhere."""


class AssociativeMemory(nn.Module):
    """Stores a pattern at every step, and completes queries by Hopfield updates.

        i = the slot of smallest a; M_t(i) = v_t, a_t(i) = σ(g_t)
        ξ ← Σ_j softmax_j(β_t M_t(j)·ξ + log a_t(j)) M_t(j), repeated ``num_updates`` times from ξ = q_t; r_t = ξ

    Patterns are both keys and values: a read returns a stored pattern that the query is a part of. A pattern with
    small a has little influence on a read and is overwritten early; free slots are written first.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N.
        slot_dim: W.
        num_read_heads: H queries a step; features out are H W.
        num_updates: updates of each query.
        strength: approximate initial β; β_t = log(1 + e^z), where z is a linear function of x.

    Raises:
        ParameterError: a size is below one, or ``strength`` is not positive and finite.
    """

    def __init__(
        self,
        runs: int,
        d_in: int,
        num_slots: int,
        slot_dim: int,
        num_read_heads: int = 1,
        *,
        num_updates: int = 3,
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, num_slots=num_slots, slot_dim=slot_dim)
        at_least_one(num_read_heads=num_read_heads, num_updates=num_updates)
        if not (strength > 0 and math.isfinite(strength)):
            raise ParameterError(f"strength: {strength} is out of range; allowed: a positive finite number")
        self.num_slots, self.slot_dim, self.num_read_heads = num_slots, slot_dim, num_read_heads
        self.num_updates = num_updates
        self.offset = strength + math.log(-math.expm1(-strength))  # the z with log(1 + e^z) = strength
        self.d_out = num_read_heads * slot_dim
        self.project = Linear(runs, d_in, (num_read_heads + 1) * slot_dim + num_read_heads + 1)

    def initial_state(self, batch: int) -> AssociativeState:
        """Return a state in which all slots are free."""
        weight = self.project.weight
        shape = (len(weight), batch)
        return AssociativeState(
            slots=weight.new_zeros(*shape, self.num_slots, self.slot_dim),
            log_weight=weight.new_full((*shape, self.num_slots), free(weight)),
            read_weights=weight.new_zeros(*shape, self.num_read_heads, self.num_slots),
            write_weights=weight.new_zeros(*shape, 1, self.num_slots),
        )

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: AssociativeState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], AssociativeState]:
        """Store a pattern, then complete the queries."""
        heads, dim = self.num_read_heads, self.slot_dim
        queries, pattern, strength, gate = self.project(x).split([heads * dim, dim, heads, 1], -1)
        write_weights = at_weakest(state.log_weight)
        slots, log_weight = store(state.slots, state.log_weight, write_weights, pattern, gate)
        outputs, read_weights = retrieve(
            queries.unflatten(-1, (heads, dim)),
            shuffle_memory(slots, control),
            softplus(strength + self.offset),
            self.num_updates,
            shuffle_memory(log_weight, control),
        )
        after = AssociativeState(slots, log_weight, read_weights, write_weights)
        return silence_reads(outputs, control).flatten(2), after


def free(like: Tensor) -> float:
    """Return the log weight of a free slot: far below all others, and finite in the type of ``like``."""
    return torch.finfo(like.dtype).min / 4


def store(
    slots: Slots,
    log_weight: PerSlot,
    place: Float[Tensor, "runs batch 1 slots"],
    vector: Float[Tensor, "runs batch dim"],
    gate: Float[Tensor, "runs batch 1"],
) -> tuple[Slots, PerSlot]:
    """Set M(i) ← v and log a(i) ← log σ(g) at one slot.

    Args:
        slots: M.
        log_weight: log a.
        place: 1 at slot i, 0 elsewhere; see :mod:`palimpsest.memory.placement`.
        vector: v.
        gate: g; a large g stores v completely. The gradient of the logarithm stays finite for any negative g.
    """
    erase_all = torch.ones_like(vector)[:, :, None]
    chosen = place.squeeze(2) > 0
    return (
        erase_and_add(slots, place, erase_all, vector[:, :, None]),
        torch.where(chosen, -softplus(-gate), log_weight),
    )


build = AssociativeMemory
"""The memory in given sizes, all else by default: see :mod:`palimpsest.memory.named`."""
