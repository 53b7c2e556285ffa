"""Memory cell, the simplest memory: N vectors, each with its own input, forget and output gate."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.activation import sigmoid, tanh
from palimpsest.layers.linear import Linear
from palimpsest.memory.addressing import read
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.sizes import at_least_one, within


class MemoryCellState(NamedTuple):
    """The state of a :class:`MemoryCell` between two steps."""

    slots: Float[Tensor, "runs batch slots dim"]
    read_weights: Float[Tensor, "runs batch 1 slots"]
    """o_t(i) / N, in [0, 1/N]."""


class MemoryCell(nn.Module):
    """N vectors with gates that keep, add and output; the gates depend on the input alone.

        i_t, f_t, o_t = σ(W_g x_t + b_g) ∈ [0, 1]^N each      v_t = tanh(W_v x_t + b_v) ∈ [−1, 1]^W
        M_t(i) = f_t(i) M_{t−1}(i) + i_t(i) v_t                an LSTM's c_t    [Gers, Schmidhuber, Cummins 2000]
        r_t = 1/N Σ_i o_t(i) tanh(M_t(i))                      an LSTM's h_t    [the same]

    Three points differ from an LSTM. The gates do not depend on the previous output, so the state is a linear function
    of the state before. A gate is one number a slot and not one a feature, so a slot keeps, takes and outputs whole
    vectors. All N slots receive the same vector v_t, and each stores a decaying sum of it with its own time constant.
    The gates of slot i start near f = τ_i / (1 + τ_i) and i = 1 − f, with τ_i from 1 to ``horizon`` steps in equal
    ratios [chrono initialisation: Tallec, Ollivier 2018, where τ is drawn].

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N.
        slot_dim: W, also the features out.
        horizon: initial time constant of the slowest slot, in steps; at least 1.

    Raises:
        ParameterError: a size or ``horizon`` is below one.
    """

    offset: Float[Tensor, " gates"]

    def __init__(self, runs: int, d_in: int, num_slots: int, slot_dim: int, *, horizon: float = 100.0) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, num_slots=num_slots, slot_dim=slot_dim)
        within("horizon", horizon, 1.0, 1e9)
        self.num_slots, self.slot_dim, self.d_out = num_slots, slot_dim, slot_dim
        self.project = Linear(runs, d_in, 3 * num_slots + slot_dim)
        times = torch.tensor(horizon).log() * torch.linspace(0, 1, num_slots)
        self.register_buffer("offset", torch.cat([-times, times, torch.zeros(num_slots)]), persistent=False)

    def initial_state(self, batch: int) -> MemoryCellState:
        """Return zeros."""
        weight = self.project.weight
        return MemoryCellState(
            slots=weight.new_zeros(len(weight), batch, self.num_slots, self.slot_dim),
            read_weights=weight.new_zeros(len(weight), batch, 1, self.num_slots),
        )

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: MemoryCellState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch dim"], MemoryCellState]:
        """Keep and add, then output."""
        gates, value = self.project(x).split([3 * self.num_slots, self.slot_dim], -1)
        add, keep, output = sigmoid(gates + self.offset).split(self.num_slots, -1)
        slots = keep[..., None] * state.slots + add[..., None] * tanh(value)[:, :, None]
        read_weights = output[:, :, None] / self.num_slots
        outputs = silence_reads(read(tanh(shuffle_memory(slots, control)), read_weights), control)
        return outputs.squeeze(2), MemoryCellState(slots, read_weights)


def build(runs: int, d_in: int, num_slots: int, slot_dim: int, num_read_heads: int = 1) -> MemoryCell:
    """The memory in given sizes, all else by default: see :mod:`palimpsest.memory.named`.

    Raises:
        ParameterError: ``num_read_heads`` is not 1; the cell has no heads.
    """
    if num_read_heads != 1:
        raise ParameterError(f"num_read_heads: {num_read_heads}; allowed of memory 'cell': 1")
    return MemoryCell(runs, d_in, num_slots, slot_dim)
