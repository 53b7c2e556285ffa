"""Gated memory: every slot has a gate that decides whether it keeps its content or takes the new one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from palimpsest.layers.activation import sigmoid, softplus, tanh
from palimpsest.layers.linear import Linear
from palimpsest.memory.addressing import content_weights, dot_similarity, erase_and_add, read
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.sizes import at_least_one


class GatedState(NamedTuple):
    """The state of a :class:`GatedMemory` between two steps."""

    slots: Float[Tensor, "runs batch slots dim"]
    """In [−1, 1]."""
    read_weights: Float[Tensor, "runs batch heads slots"]
    gate: Float[Tensor, "runs batch slots"]
    """z in [0, 1]: share of each slot that was replaced; no weighting, because its sum over slots may exceed 1."""


class GatedMemory(nn.Module):
    """Slots that each have a GRU's update gate: keep or replace.

        z_t(i) = σ(q_t·(M_{t−1}(i) + K_i)/√W + b)               [Henaff et al. 2017, eq. 2, scaled]
        M_t(i) = (1 − z_t(i)) M_{t−1}(i) + z_t(i) tanh(v_t)     [Cho et al. 2014, eq. 7, whose z is 1 − z]
        r_t = Σ_i C(M_t, k_t, β_t)(i) M_t(i)                    [Graves 2014, eqs. 2 and 5]

    K_i is a learned key that distinguishes slots with equal content; b is learned. Unlike a weighting, the gates of
    slots do not compete: one step may write to all slots or to none. Three points differ from a GRU: the gate is one
    number a slot, there is no reset gate, and the candidate depends on the input alone. One point differs from the
    recurrent entity network [Henaff et al. 2017]: a slot is replaced, while there it is added to and normalised.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N.
        slot_dim: W.
        num_read_heads: H; features out are H W.
        gate_bias: initial b; a negative b makes slots keep their content.

    Raises:
        ParameterError: a size is below one.
    """

    def __init__(
        self, runs: int, d_in: int, num_slots: int, slot_dim: int, num_read_heads: int = 1, *, gate_bias: float = -1.0
    ) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, num_slots=num_slots, slot_dim=slot_dim, num_read_heads=num_read_heads)
        self.num_slots, self.slot_dim, self.num_read_heads = num_slots, slot_dim, num_read_heads
        self.gate_bias, self.d_out = gate_bias, num_read_heads * slot_dim
        self.project = Linear(runs, d_in, (num_read_heads + 2) * slot_dim + num_read_heads)
        self.keys = nn.Parameter(torch.empty(runs, num_slots, slot_dim))
        self.bias = nn.Parameter(torch.empty(runs, 1))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw K from N(0, 1); set b to its initial value."""
        self.bias.fill_(self.gate_bias)
        for keys, generator in zip(self.keys, generators, strict=True):
            keys.normal_(generator=generator)

    def initial_state(self, batch: int) -> GatedState:
        """Return zeros."""
        weight = self.project.weight
        shape = (len(weight), batch)
        return GatedState(
            slots=weight.new_zeros(*shape, self.num_slots, self.slot_dim),
            read_weights=weight.new_zeros(*shape, self.num_read_heads, self.num_slots),
            gate=weight.new_zeros(*shape, self.num_slots),
        )

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: GatedState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], GatedState]:
        """Keep or replace every slot, then read."""
        heads, dim = self.num_read_heads, self.slot_dim
        query, value, keys, strengths = self.project(x).split([dim, dim, heads * dim, heads], -1)
        score = dot_similarity(query[:, :, None], state.slots + self.keys[:, None]) / math.sqrt(dim)
        gate = sigmoid(score + self.bias[:, None, None])
        slots = erase_and_add(state.slots, gate, torch.ones_like(value)[:, :, None], tanh(value)[:, :, None])
        visible = shuffle_memory(slots, control)
        read_weights = content_weights(keys.unflatten(-1, (heads, dim)), visible, 1 + softplus(strengths))
        outputs = silence_reads(read(visible, read_weights), control).flatten(2)
        return outputs, GatedState(slots, read_weights, gate.squeeze(2))


build = GatedMemory
"""The memory in given sizes, all else by default: see :mod:`palimpsest.memory.named`."""
