"""Memories alone that are read by attention: to all slots, to a few of very many, or level by level."""

from __future__ import annotations

from collections.abc import Sequence

from palimpsest.faces.adapter import CellModule
from palimpsest.memory import attention_memory, hierarchical, sparse
from palimpsest.memory.attention_memory import Placement
from palimpsest.memory.sizes import at_least_one
from palimpsest.memory.sparse import Search


class AttentionMemory(CellModule):
    """Writes a key and a value at every step, and attends to all that it holds.

        r_t = softmax(q_t Kᵀ/√d_head + log a) V    [Vaswani et al. 2017, eq. 1], head by head

    Equations and placement: :class:`palimpsest.memory.attention_memory.AttentionMemory`.

    Args:
        input_size: features in.
        memory_size: slots N; with circular placement the window of steps that are seen.
        memory_dim: features W of a key, of a value, and of what comes out.
        num_read_heads: H, a divisor of W.
        placement: ``circular``: over what was written N steps ago; ``first_free``: over what was written least.

    Raises:
        ParameterError: a size is below one, H does not divide W, or there is no such placement.
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

    Equations, what is exact and what is approximate: :class:`palimpsest.memory.sparse.SparseMemory`. The first state
    takes time for all slots: get it once, by ``initial_state``, where many sequences begin with it.

    Args:
        input_size: features in.
        memory_size: slots N.
        memory_dim: features W of a slot.
        num_read_heads: H; features out are H W, head by head.
        top_k: slots K that a head reads, at most N.
        search: ``exact``: among all slots; ``hashed``: in a few buckets.

    Raises:
        ParameterError: a size is below one, K exceeds N, or there is no such search.
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
    """Level 0 holds the latest steps; level l holds summaries of c^l steps each, and so looks further back.

        r_t = Σ_l p(l) Σ_{i in l} p(i | l) M(i)

    Equations: :class:`palimpsest.memory.hierarchical.HierarchicalMemory`.

    Args:
        input_size: features in.
        level_sizes: slots of each level, from the fastest on.
        memory_dim: features W of a slot.
        num_read_heads: H; features out are H W, head by head.
        period: c, entries of a level that one entry of the next sums up.

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
