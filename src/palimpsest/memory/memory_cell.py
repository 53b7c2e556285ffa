"""Memory cell: a bank of N vectors, each with an input, a forget and an output gate of its own; the simplest store."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.layers.activation import sigmoid, tanh
from palimpsest.layers.linear import Linear
from palimpsest.memory.addressing import read
from palimpsest.memory.control import Control, heard, seen
from palimpsest.memory.sizes import at_least_one, within


class MemoryCellState(NamedTuple):
    """What a :class:`MemoryCell` carries from step to step."""

    slots: Float[Tensor, "runs batch slots dim"]
    read_weights: Float[Tensor, "runs batch 1 slots"]
    """o_t(i) / N, in [0, 1/N]."""


class MemoryCell(nn.Module):
    """N vectors that are kept, added to and shown by gates that see the input alone.

        i_t, f_t, o_t = σ(W_g x_t + b_g) ∈ [0, 1]^N each      v_t = tanh(W_v x_t + b_v) ∈ [−1, 1]^W
        M_t(i) = f_t(i) M_{t−1}(i) + i_t(i) v_t                an LSTM's c_t    [Gers, Schmidhuber, Cummins 2000]
        r_t = 1/N Σ_i o_t(i) tanh(M_t(i))                      an LSTM's h_t    [the same]

    How it differs from an LSTM: the gates do not hear what was said in the step before, so that the state is a linear
    function of the state before; a gate is one number a slot, not one a feature, so that a slot keeps, takes and shows
    vectors whole; and the N slots are offered the same vector v_t, of which each keeps a decaying sum with a time
    constant of its own. The gates of slot i start around f = τ_i / (1 + τ_i) and i = 1 − f, with τ_i from 1 to
    ``horizon`` steps in equal ratios [chrono initialisation: Tallec, Ollivier 2018, where τ is drawn].

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N.
        slot_dim: W, also the features out.
        horizon: steps that the slowest slot remembers at first; at least 1.

    Raises:
        ParameterError: a size is below one, or ``horizon`` is.
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
        """Zeros."""
        weight = self.project.weight
        return MemoryCellState(
            slots=weight.new_zeros(len(weight), batch, self.num_slots, self.slot_dim),
            read_weights=weight.new_zeros(len(weight), batch, 1, self.num_slots),
        )

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: MemoryCellState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch dim"], MemoryCellState]:
        """Keep and add, then show."""
        gates, value = self.project(x).split([3 * self.num_slots, self.slot_dim], -1)
        add, keep, show = sigmoid(gates + self.offset).split(self.num_slots, -1)
        slots = keep[..., None] * state.slots + add[..., None] * tanh(value)[:, :, None]
        read_weights = show[:, :, None] / self.num_slots
        said = heard(read(tanh(seen(slots, control)), read_weights), control)
        return said.squeeze(2), MemoryCellState(slots, read_weights)
