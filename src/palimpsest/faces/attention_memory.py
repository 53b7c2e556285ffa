"""Memories without a controller that are read by attention: to all slots, to a few of many, or level by level."""

from __future__ import annotations

from collections.abc import Sequence

from palimpsest.faces.adapter import CellModule
from palimpsest.memory import attention_memory, hierarchical, sparse
from palimpsest.memory.attention_memory import Placement
from palimpsest.memory.sizes import at_least_one
from palimpsest.memory.sparse import Search


class AttentionMemory(CellModule):
    """Writes a key and a value at every step, and attends to all its slots.

        r_t = softmax(q_t Kᵀ/√d_head + log a) V    [Vaswani et al. 2017, eq. 1], head by head

    Equations and placement: :class:`palimpsest.memory.attention_memory.AttentionMemory`.

    Args:
        input_size: number of input features.
        memory_size: slots N; with circular placement also the number of steps that attention reaches back.
        memory_dim: features W of a key, of a value, and of the output.
        num_read_heads: H, a divisor of W.
        placement: ``circular`` overwrites the slot written N steps ago; ``first_free`` the most weakly written slot.

    Raises:
        ParameterError: a size is below one, H does not divide W, or the placement is unknown.
    """

    def __init__(
        self,
        input_size: int,
        memory_size: int,
        memory_dim: int,
        num_read_heads: int = 1,
        *,
        placement: Placement = "circular",
    ) -> None:
        at_least_one(input_size=input_size, memory_size=memory_size, memory_dim=memory_dim)
        cell = attention_memory.AttentionMemory(
            1, input_size, memory_size, memory_dim, num_read_heads, placement=placement
        )
        super().__init__(cell, input_size)


class SparseMemory(CellModule):
    """Reads and writes a few of very many slots, at a cost that hardly depends on their number    [Rae et al. 2016].

        w^W_t = α_t (γ_t w^R_{t−1} + (1 − γ_t) 1_u), u the slot accessed least recently        r_t = Σ_K w^R_t(i) M_t(i)

    For equations, and for which parts are exact and which approximate, see
    :class:`palimpsest.memory.sparse.SparseMemory`. Creating the first state takes time for all slots: if many sequences
    start from it, call ``initial_state`` once and reuse the state.

    Args:
        input_size: number of input features.
        memory_size: slots N.
        memory_dim: features W of a slot.
        num_read_heads: H; there are H W output features, head by head.
        top_k: K, number of slots that a head reads, at most N.
        search: ``exact`` compares all slots; ``hashed`` compares those in a few buckets.

    Raises:
        ParameterError: a size is below one, K exceeds N, or the search is unknown.
    """

    def __init__(
        self,
        input_size: int,
        memory_size: int,
        memory_dim: int,
        num_read_heads: int = 1,
        *,
        top_k: int = 4,
        search: Search = "hashed",
    ) -> None:
        at_least_one(input_size=input_size, memory_size=memory_size, memory_dim=memory_dim)
        cell = sparse.SparseMemory(1, input_size, memory_size, memory_dim, num_read_heads, top_k=top_k, search=search)
        super().__init__(cell, input_size)


class HierarchicalMemory(CellModule):
    """Level 0 holds the latest steps; level l holds summaries of c^l steps each, and so reaches further back.

        r_t = Σ_l p(l) Σ_{i in l} p(i | l) M(i)

    Equations: :class:`palimpsest.memory.hierarchical.HierarchicalMemory`.

    Args:
        input_size: number of input features.
        level_sizes: slots of each level, the fastest level first.
        memory_dim: features W of a slot.
        num_read_heads: H; there are H W output features, head by head.
        period: c, number of entries of a level that one entry of the next level summarises.

    Raises:
        ParameterError: a size is below one, or there is no level.
    """

    def __init__(
        self,
        input_size: int,
        level_sizes: Sequence[int],
        memory_dim: int,
        num_read_heads: int = 1,
        *,
        period: int = 4,
    ) -> None:
        at_least_one(input_size=input_size, memory_dim=memory_dim)
        cell = hierarchical.HierarchicalMemory(1, input_size, level_sizes, memory_dim, num_read_heads, period=period)
        super().__init__(cell, input_size)
