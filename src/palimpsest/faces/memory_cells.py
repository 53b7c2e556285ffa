"""Memories without a controller: the inputs go to the memory, and the outputs are the reads."""

from __future__ import annotations

from palimpsest.faces.adapter import CellModule
from palimpsest.memory import associative, dynamic, memory_cell
from palimpsest.memory.sizes import at_least_one


class MemoryCell(CellModule):
    """N vectors, each with its own input, forget and output gate; the gates depend on the input alone.

        M_t(i) = f_t(i) M_{t−1}(i) + i_t(i) tanh(v_t)        r_t = 1/N Σ_i o_t(i) tanh(M_t(i))

    Equations and sources: :class:`palimpsest.memory.memory_cell.MemoryCell`.

    Args:
        input_size: number of input features.
        memory_size: slots N.
        memory_dim: features W of a slot, and of the output.
        horizon: initial time constant of the slowest slot, in steps.

    Raises:
        ParameterError: a size or ``horizon`` is below one.
    """

    def __init__(self, input_size: int, memory_size: int, memory_dim: int, *, horizon: float = 100.0) -> None:
        at_least_one(input_size=input_size, memory_size=memory_size, memory_dim=memory_dim)
        cell = memory_cell.MemoryCell(1, input_size, memory_size, memory_dim, horizon=horizon)
        super().__init__(cell, input_size)


class DynamicMemory(CellModule):
    """Slots that are allocated by a write, freed after a read, and emptied when almost unused.

        w^w_t = g_t a(u_t)    M_t(i) = (1 − w^w_t(i)) M(i) + w^w_t(i) v_t    r_t = Σ_i C(M_t, k_t, β_t)(i) M_t(i)

    Allocation, garbage collection and compaction, with sources: :class:`palimpsest.memory.dynamic.DynamicMemory`.

    Args:
        input_size: number of input features.
        memory_size: slots N.
        memory_dim: features W of a slot.
        num_read_heads: H; there are H W output features, head by head.
        threshold: usage in [0, 1] below which a slot is emptied.
        compaction: whether slots in use are moved to the front after every step.

    Raises:
        ParameterError: a size is below one, or ``threshold`` is outside [0, 1].
    """

    def __init__(
        self,
        input_size: int,
        memory_size: int,
        memory_dim: int,
        num_read_heads: int = 1,
        *,
        threshold: float = 0.01,
        compaction: bool = False,
    ) -> None:
        at_least_one(input_size=input_size, memory_size=memory_size, memory_dim=memory_dim)
        cell = dynamic.DynamicMemory(
            1, input_size, memory_size, memory_dim, num_read_heads, threshold=threshold, compaction=compaction
        )
        super().__init__(cell, input_size)


class AssociativeMemory(CellModule):
    """A modern Hopfield network: it stores a pattern at every step, and completes queries.

        ξ ← Σ_j softmax_j(β_t M_t(j)·ξ + log a_t(j)) M_t(j), starting from the query; r_t = ξ

    Equations, sources, and the classical network, which is its limit: :mod:`palimpsest.memory.associative`.

    Args:
        input_size: number of input features.
        memory_size: slots N.
        memory_dim: features W of a pattern.
        num_read_heads: H queries a step; there are H W output features, query by query.
        num_updates: number of updates of each query.
        strength: approximate initial β.

    Raises:
        ParameterError: a size is below one, or ``strength`` is not positive and finite.
    """

    def __init__(
        self,
        input_size: int,
        memory_size: int,
        memory_dim: int,
        num_read_heads: int = 1,
        *,
        num_updates: int = 3,
        strength: float = 1.0,
    ) -> None:
        at_least_one(input_size=input_size, memory_size=memory_size, memory_dim=memory_dim)
        cell = associative.AssociativeMemory(
            1, input_size, memory_size, memory_dim, num_read_heads, num_updates=num_updates, strength=strength
        )
        super().__init__(cell, input_size)
