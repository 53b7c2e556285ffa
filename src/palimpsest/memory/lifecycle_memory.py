"""Lifecycle memory: a controller writes, retains, updates and forgets slots, which heads read."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.foundation.tree import map_tensors
from palimpsest.layers.linear import Linear
from palimpsest.memory import lifecycle
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.lifecycle import Controller, LifecycleState, Proposal, UpdateGate
from palimpsest.memory.reading import AttentionRead
from palimpsest.memory.sizes import at_least_one

THRESHOLD = 0.5
"""τ: a write needs a score above it."""
UTILISATION_CAP = 1.0
"""Share of slots that may live at the same time."""
BUDGET = 2
"""Operations B that a step executes at most; a write into a full memory takes two of them."""
HIDDEN = 32
"""Hidden units of the controller."""
AGE_UNIT = 16.0
"""Steps in which controller and reader measure ages."""


class LifecycleCellState(NamedTuple):
    """The state of a :class:`LifecycleMemory` between two steps."""

    memory: LifecycleState
    read_weights: Float[Tensor, "runs batch heads slots"]
    """Non-negative, at most 1 in sum."""
    usage: Float[Tensor, "runs batch slots"]
    """Exponential mean of what was read of each slot, in [0, 1]."""


class LifecycleMemory(nn.Module):
    """The memory of source 001 at every step of a network, in its repaired reading: decide, then read.

        v_t, q_t = W x_t + b
        p_i = softmax(controller(m_i, age_i, u_i, v_t)), s = σ(write network(v_t))     [source 001, Section 4.3]
        execute the B operations of highest utility: writes, updates, forgets          [source 001, Section 4.4]
        m_i ← m_i + g_i ⊙ (v_t − m_i) if updated; m_e ← v_t if written                 [source 001, Section 3.2]
        r_t = Σ_i a_i e^{s_i} V m_i / (1 + Σ_j a_j e^{s_j})     s_i = q_tᵀ K m_i/√W − α age_i + b_r

    Where the equations are computed: :func:`palimpsest.memory.lifecycle.allocate_requested`,
    :func:`palimpsest.memory.lifecycle.step_requested` and :class:`palimpsest.memory.reading.AttentionRead`. Decisions
    are 0 or 1 and have straight-through gradients. The update gate g gets a gradient only from executed updates; with
    the default offsets a new network executes none.

    Deviates: the task loss is the only loss, because a cell has no lifecycle losses to return. A replacement takes the
    slot that is most likely to be forgotten, in training too. The control ``random_writes`` changes nothing, because a
    step does not know the number of writes of its sequence.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N.
        slot_dim: W.
        num_read_heads: H; features out are H W.
        offsets: added to the logits of retain, update and forget; by default a slot is retained unless the controller
            learns otherwise.

    Raises:
        ParameterError: a size is below one.
    """

    def __init__(
        self,
        runs: int,
        d_in: int,
        num_slots: int,
        slot_dim: int,
        num_read_heads: int = 1,
        *,
        offsets: tuple[float, float, float] = (2.0, 0.0, 0.0),
    ) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, num_slots=num_slots, slot_dim=slot_dim, num_read_heads=num_read_heads)
        self.num_slots, self.slot_dim, self.num_read_heads = num_slots, slot_dim, num_read_heads
        self.d_out = num_read_heads * slot_dim
        self.project = Linear(runs, d_in, (num_read_heads + 1) * slot_dim)
        self.controller = Controller(
            runs, slot_dim, HIDDEN, age_unit=AGE_UNIT, write_bias=1.0, offsets=offsets, ageing=1.0
        )
        self.update_gate = UpdateGate(runs, slot_dim)
        self.reader = AttentionRead(runs, slot_dim)

    def initial_state(self, batch: int) -> LifecycleCellState:
        """Return slots that are all free."""
        weight = self.project.weight
        memory = lifecycle.initial_state(len(weight), batch, self.num_slots, self.slot_dim, device=weight.device)
        memory = map_tensors(lambda part: part.to(weight.dtype) if part.is_floating_point() else part, memory)
        read_weights = weight.new_zeros(len(weight), batch, self.num_read_heads, self.num_slots)
        return LifecycleCellState(memory, read_weights, memory.usage)

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: LifecycleCellState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], LifecycleCellState]:
        """Propose, execute what the budget allows, then read."""
        context, queries = self.project(x).split([self.slot_dim, self.d_out], -1)
        before = state.memory
        proposal = Proposal(
            self.controller.actions(before, self.controller.of_context(context)), self.controller.score(context)
        )
        allocation = lifecycle.allocate_requested(
            before, proposal, x.new_full((len(x),), THRESHOLD), BUDGET, UTILISATION_CAP, straight_through=True
        )
        gate = self.update_gate(before.slots, self.update_gate.of_context(context))
        memory = lifecycle.step_requested(before, proposal, allocation, context, gate, UTILISATION_CAP).state
        slots, alive, age = (shuffle_memory(part, control) for part in (memory.slots, memory.alive, memory.age))
        read = self.reader(queries.unflatten(-1, (self.num_read_heads, self.slot_dim)), slots, alive, age / AGE_UNIT)
        memory = lifecycle.used(memory, read.weights.detach().mean(2), memory.steps - 1)
        return silence_reads(read.vector, control).flatten(2), LifecycleCellState(memory, read.weights, memory.usage)


build = LifecycleMemory
"""The memory in given sizes, all else by default: see :mod:`palimpsest.memory.named`."""
