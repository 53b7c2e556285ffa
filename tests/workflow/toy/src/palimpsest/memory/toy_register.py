"""A shift register: the latest N vectors, all of which are read with fixed shares."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.layers.linear import Linear
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.sizes import at_least_one


class RegisterState(NamedTuple):
    """The state of a :class:`Register` between two steps."""

    slots: Float[Tensor, "runs batch slots dim"]


class Register(nn.Module):
    """Every step writes one vector into the first slot and moves all others on by one.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N.
        slot_dim: W; features out are W.
        num_read_heads: accepted and not used, as all slots are read.
    """

    def __init__(self, runs: int, d_in: int, num_slots: int, slot_dim: int, num_read_heads: int = 1) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, num_slots=num_slots, slot_dim=slot_dim, num_read_heads=num_read_heads)
        self.num_slots, self.slot_dim, self.d_out = num_slots, slot_dim, slot_dim
        self.project = Linear(runs, d_in, slot_dim)

    def initial_state(self, batch: int) -> RegisterState:
        """Return zeros."""
        weight = self.project.weight
        return RegisterState(weight.new_zeros(len(weight), batch, self.num_slots, self.slot_dim))

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: RegisterState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], RegisterState]:
        """Write, move on, read."""
        slots = torch.cat([self.project(x)[:, :, None], state.slots[:, :, :-1]], 2)
        return silence_reads(shuffle_memory(slots, control).mean(2), control), RegisterState(slots)


build = Register
"""The memory in given sizes: see :mod:`palimpsest.memory.named`."""
