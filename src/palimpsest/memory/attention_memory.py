"""Attention memory: every slot holds a key and a value, and several heads attend to them."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.linear import Linear
from palimpsest.layers.product import product
from palimpsest.memory.associative import free, store
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.placement import at_weakest, in_turn
from palimpsest.memory.sizes import at_least_one

Placement = Literal["circular", "first_free"]


class AttentionState(NamedTuple):
    """The state of an :class:`AttentionMemory` between two steps."""

    slots: Float[Tensor, "runs batch slots two_dims"]
    """Key and value, side by side."""
    log_weight: Float[Tensor, "runs batch slots"]
    """log a ≤ 0: how strongly a slot was written; very negative where it is free."""
    steps: Int[Tensor, "runs batch"]
    """Number of steps so far."""
    read_weights: Float[Tensor, "runs batch heads slots"]
    write_weights: Float[Tensor, "runs batch 1 slots"]
    """1 at the written slot, 0 elsewhere."""


def attend(
    query: Float[Tensor, "runs batch dim"],
    keys: Float[Tensor, "runs batch slots dim"],
    values: Float[Tensor, "runs batch slots dim"],
    log_weight: Float[Tensor, "runs batch slots"],
    num_heads: int,
) -> tuple[Float[Tensor, "runs batch dim"], Float[Tensor, "runs batch heads slots"]]:
    """softmax(q Kᵀ/√d_head + log a) V of every head, side by side    [Vaswani et al. 2017, eq. 1, with weights a].

    Args:
        query: q, heads side by side.
        keys: K, heads side by side.
        values: V, heads side by side.
        log_weight: log a; finite, and very negative where a slot must not be read.
        num_heads: H, a divisor of the features.

    Returns:
        The read vector and the attention weights.
    """
    dim = query.shape[-1] // num_heads
    queries = query.unflatten(-1, (num_heads, 1, dim)) / math.sqrt(dim)
    keys, values = (part.unflatten(-1, (num_heads, dim)).transpose(2, 3) for part in (keys, values))
    weights = (product(queries, keys.transpose(-1, -2)) + log_weight[:, :, None, None]).softmax(-1)
    return product(weights, values).flatten(2), weights.squeeze(3)


class AttentionMemory(nn.Module):
    """Writes a key and a value at every step, and attends to all its slots.

        q_t, k_t, v_t = W x_t + b;    slot i ← (k_t, v_t), a(i) ← 1 or σ(g_t)
        r_t = softmax(q_t Kᵀ/√d_head + log a) V    [Vaswani et al. 2017, eq. 1], head by head

    Circular placement overwrites the slot written N steps ago and sets a = 1: this is causal attention over a window of
    N steps. First-free placement has a gate g. It writes to the first free slot, or, if no slot is free, to the slot
    with the smallest a. So content that was written with a closed gate is overwritten first.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N.
        slot_dim: W, of a key and of a value, also the features out.
        num_read_heads: H, divides W.
        placement: ``circular`` or ``first_free``.

    Raises:
        ParameterError: a size is below one, H does not divide W, or the placement is unknown.
    """

    def __init__(
        self,
        runs: int,
        d_in: int,
        num_slots: int,
        slot_dim: int,
        num_read_heads: int = 1,
        *,
        placement: Placement = "circular",
    ) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, num_slots=num_slots, slot_dim=slot_dim, num_read_heads=num_read_heads)
        if slot_dim % num_read_heads:
            raise ParameterError(
                f"num_read_heads: {num_read_heads} does not divide slot_dim {slot_dim}; allowed: a divisor of it"
            )
        if placement not in ("circular", "first_free"):
            raise ParameterError(f"placement: {placement!r} is unknown; allowed: circular, first_free")
        self.num_slots, self.slot_dim, self.num_read_heads = num_slots, slot_dim, num_read_heads
        self.gated = placement == "first_free"
        self.d_out = slot_dim
        self.project = Linear(runs, d_in, 3 * slot_dim + self.gated)

    def initial_state(self, batch: int) -> AttentionState:
        """Return a state in which all slots are free."""
        weight = self.project.weight
        shape = (len(weight), batch)
        return AttentionState(
            slots=weight.new_zeros(*shape, self.num_slots, 2 * self.slot_dim),
            log_weight=weight.new_full((*shape, self.num_slots), free(weight)),
            steps=torch.zeros(shape, dtype=torch.int64, device=weight.device),
            read_weights=weight.new_zeros(*shape, self.num_read_heads, self.num_slots),
            write_weights=weight.new_zeros(*shape, 1, self.num_slots),
        )

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: AttentionState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch dim"], AttentionState]:
        """Write, then attend; the read sees the new content."""
        dim = self.slot_dim
        query, written, gate = self.project(x).split([dim, 2 * dim, int(self.gated)], -1)
        if self.gated:
            write_weights = at_weakest(state.log_weight)
        else:
            write_weights = in_turn(state.steps, self.num_slots, written)
            gate = torch.full_like(written[..., :1], -free(written))  # an open gate: log σ(g) = 0
        slots, log_weight = store(state.slots, state.log_weight, write_weights, written, gate)
        keys, values = shuffle_memory(slots, control).split(dim, -1)
        outputs, read_weights = attend(query, keys, values, shuffle_memory(log_weight, control), self.num_read_heads)
        after = AttentionState(slots, log_weight, state.steps + 1, read_weights, write_weights)
        return silence_reads(outputs, control), after


build = AttentionMemory
"""The memory in given sizes, all else by default: see :mod:`palimpsest.memory.named`."""
