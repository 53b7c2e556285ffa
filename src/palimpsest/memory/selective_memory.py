"""Selective memory: a learned gate writes vectors into a first-in, first-out memory, which heads read."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.foundation.tree import map_tensors
from palimpsest.layers.linear import Linear
from palimpsest.memory import episodic
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.episodic import EpisodicState
from palimpsest.memory.reading import SigmoidRead
from palimpsest.memory.sizes import at_least_one
from palimpsest.memory.write_gate import threshold_writes

THRESHOLD = 0.5
"""τ: a vector is written if its gate exceeds it."""


class SelectiveState(NamedTuple):
    """The state of a :class:`SelectiveMemory` between two steps."""

    memory: EpisodicState
    read_gates: Float[Tensor, "runs batch heads slots"]
    """In [0, 1], not normalised: slots do not compete."""


class SelectiveMemory(nn.Module):
    """The episodic memory of source 000 at every step of a network: write if the gate is open, then read.

        m_t, q_t = W x_t + c      g_t = σ(w·x_t + b)
        m_t is written if g_t > τ; a full memory forgets its oldest vector      [source 000, "Write Gate"]
        r_t = Σ_i a_i σ(q_tᵀ K m_i/√W + b_r) V m_i      a_i: 1 where slot i is written, else 0

    The decision to write has a straight-through gradient. The read is that of the repaired reading of source 000
    (:class:`palimpsest.memory.reading.SigmoidRead`).

    Deviates: the gate is a linear map of the input, because the input is already a hidden state of a network. No loss
    charges for writes, because a cell has none to return. The control ``random_writes`` changes nothing, because a step
    does not know the number of writes of its sequence.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N.
        slot_dim: W.
        num_read_heads: H; features out are H W.
        gate_bias: initial b; positive: the gate starts open.

    Raises:
        ParameterError: a size is below one.
    """

    def __init__(
        self, runs: int, d_in: int, num_slots: int, slot_dim: int, num_read_heads: int = 1, *, gate_bias: float = 1.0
    ) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, num_slots=num_slots, slot_dim=slot_dim, num_read_heads=num_read_heads)
        self.num_slots, self.slot_dim, self.num_read_heads = num_slots, slot_dim, num_read_heads
        self.d_out = num_read_heads * slot_dim
        self.gate = Linear(runs, d_in, 1, bias_value=gate_bias)
        self.project = Linear(runs, d_in, (num_read_heads + 1) * slot_dim)
        self.reader = SigmoidRead(runs, slot_dim)

    def initial_state(self, batch: int) -> SelectiveState:
        """Return an empty memory."""
        weight = self.project.weight
        memory = episodic.initial_state(len(weight), batch, self.num_slots, self.slot_dim, device=weight.device)
        memory = map_tensors(lambda part: part.to(weight.dtype) if part.is_floating_point() else part, memory)
        return SelectiveState(memory, weight.new_zeros(len(weight), batch, self.num_read_heads, self.num_slots))

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: SelectiveState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], SelectiveState]:
        """Write the vector of this step if its gate is open, then read."""
        vector, queries = self.project(x).split([self.slot_dim, self.d_out], -1)
        threshold = x.new_full((len(x),), THRESHOLD)
        write = threshold_writes(self.gate(x), threshold, straight_through=True).weight
        memory = episodic.append(state.memory, vector[:, :, None], write)
        slots, weight = shuffle_memory(memory.slots, control), shuffle_memory(memory.weight, control)
        read = self.reader(queries.unflatten(-1, (self.num_read_heads, self.slot_dim)), slots, weight)
        return silence_reads(read.vector, control).flatten(2), SelectiveState(memory, read.weights)


build = SelectiveMemory
"""The memory in given sizes, all else by default: see :mod:`palimpsest.memory.named`."""
