"""Adaptive memory: every slot learns its own retention, and new content is written faster than known content."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from palimpsest.layers.activation import sigmoid, softplus
from palimpsest.layers.linear import Linear
from palimpsest.memory.addressing import content_weights, cosine_similarity, erase_and_add, read
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.sizes import at_least_one, within


class AdaptiveState(NamedTuple):
    """The state of an :class:`AdaptiveMemory` between two steps."""

    slots: Float[Tensor, "runs batch slots dim"]
    read_weights: Float[Tensor, "runs batch heads slots"]
    write_weights: Float[Tensor, "runs batch 1 slots"]
    """η_t w_t; their sum is the write rate."""


class AdaptiveMemory(nn.Module):
    """Slots that decay at learned rates, written at a rate that depends on what they already hold.

        w_t = C(M_{t−1}, k_t, β_t)                                        write address   [Graves 2014, eq. 5]
        n_t = ½ (1 − cos(v_t, Σ_i w_t(i) M_{t−1}(i)))                     novelty, in [0, 1]
        η_t = σ(a_t + κ n_t)                                              write rate
        M_t(i) = ρ_i (1 − η_t w_t(i)) M_{t−1}(i) + η_t w_t(i) v_t         ρ_i = σ(b_i): retention of slot i, learned
        r_t = Σ_i C(M_t, q_t, β'_t)(i) M_t(i)

    k, v, q, β, β' and a are linear functions of x, followed by the function that brings each into its range; κ and b
    are parameters. The source names retention and an adaptive rate but gives no equation: these equations are ours. The
    first memory M_0 is learned, because content addressing could never distinguish slots with equal initial content.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N.
        slot_dim: W.
        num_read_heads: H; features out are H W.
        horizon: initial time constant of the slowest slot, in steps; those of the others go down to 1 in equal ratios.

    Raises:
        ParameterError: a size or ``horizon`` is below one.
    """

    def __init__(
        self, runs: int, d_in: int, num_slots: int, slot_dim: int, num_read_heads: int = 1, *, horizon: float = 1000.0
    ) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, num_slots=num_slots, slot_dim=slot_dim, num_read_heads=num_read_heads)
        within("horizon", horizon, 1.0, 1e9)
        self.num_slots, self.slot_dim, self.num_read_heads = num_slots, slot_dim, num_read_heads
        self.horizon, self.d_out = horizon, num_read_heads * slot_dim
        self.project = Linear(runs, d_in, (num_read_heads + 2) * slot_dim + num_read_heads + 2)
        self.retention = nn.Parameter(torch.empty(runs, num_slots))
        self.novelty = nn.Parameter(torch.empty(runs, 1))
        self.memory = nn.Parameter(torch.empty(runs, num_slots, slot_dim))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Set b_i = log τ_i (ρ_i = τ_i / (1 + τ_i)), τ from 1 to the horizon, and κ = 1; draw M_0 from N(0, 1/W)."""
        times = math.log(self.horizon) * torch.linspace(0, 1, self.num_slots, device=self.retention.device)
        self.retention.copy_(times.expand_as(self.retention))
        self.novelty.fill_(1)
        for memory, generator in zip(self.memory, generators, strict=True):
            memory.normal_(0, 1 / math.sqrt(self.slot_dim), generator=generator)

    def initial_state(self, batch: int) -> AdaptiveState:
        """Return the learned first memory, for every example."""
        runs, num_slots, _ = self.memory.shape
        return AdaptiveState(
            slots=self.memory[:, None].expand(-1, batch, -1, -1),
            read_weights=self.memory.new_zeros(runs, batch, self.num_read_heads, num_slots),
            write_weights=self.memory.new_zeros(runs, batch, 1, num_slots),
        )

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: AdaptiveState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], AdaptiveState]:
        """Write, then read."""
        heads, dim = self.num_read_heads, self.slot_dim
        keys, value, strengths, rate = self.project(x).split([(heads + 1) * dim, dim, heads + 1, 1], -1)
        write_key, read_keys = keys.unflatten(-1, (heads + 1, dim)).split([1, heads], 2)
        write_strength, read_strengths = (1 + softplus(strengths)).split([1, heads], -1)
        address = content_weights(write_key, state.slots, write_strength)
        similarity = cosine_similarity(value[:, :, None], read(state.slots, address)).squeeze(-1)
        write_rate = sigmoid(rate + self.novelty[:, None] * (1 - similarity) / 2)
        write_weights = write_rate[..., None] * address
        retained = sigmoid(self.retention)[:, None, :, None] * state.slots
        slots = erase_and_add(retained, write_weights, torch.ones_like(value)[:, :, None], value[:, :, None])
        visible = shuffle_memory(slots, control)
        read_weights = content_weights(read_keys, visible, read_strengths)
        outputs = silence_reads(read(visible, read_weights), control).flatten(2)
        return outputs, AdaptiveState(slots, read_weights, write_weights)


build = AdaptiveMemory
"""The memory in given sizes, all else by default: see :mod:`palimpsest.memory.named`."""
