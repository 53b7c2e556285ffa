"""Memories by name, for a model in which any of them may stand: the same sizes for all."""

from __future__ import annotations

from typing import Any, Literal, get_args

from palimpsest.foundation.errors import ParameterError
from palimpsest.memory.adaptive import AdaptiveMemory
from palimpsest.memory.associative import AssociativeMemory
from palimpsest.memory.attention_memory import AttentionMemory
from palimpsest.memory.dynamic import DynamicMemory
from palimpsest.memory.gated import GatedMemory
from palimpsest.memory.hierarchical import HierarchicalMemory
from palimpsest.memory.least_recently_used import LeastRecentlyUsedAccess
from palimpsest.memory.memory_cell import MemoryCell
from palimpsest.memory.sizes import at_least_one
from palimpsest.memory.sparse import SparseMemory

MemoryName = Literal[
    "cell",
    "dynamic",
    "associative",
    "least_recently_used",
    "attention",
    "sparse",
    "hierarchical",
    "adaptive",
    "gated",
]
_WITH_HEADS: dict[str, type[Any]] = {
    "dynamic": DynamicMemory,
    "associative": AssociativeMemory,
    "least_recently_used": LeastRecentlyUsedAccess,
    "attention": AttentionMemory,
    "adaptive": AdaptiveMemory,
    "gated": GatedMemory,
}
LEVELS = 3
"""Of a hierarchical memory that is told how many slots it has in all, as far as there are slots."""
TOP_K = 4
"""Slots that a sparse memory reads with a head, as far as there are slots."""


def named_memory(name: MemoryName, runs: int, d_in: int, num_slots: int, slot_dim: int, num_read_heads: int = 1) -> Any:
    """The cell (:class:`palimpsest.models.shared.recurrent.Cell`, an ``nn.Module``) of a name.

    What a memory has beside these sizes is as it is by default; slots of a hierarchical memory are dealt out to its
    levels, the faster ones first.

    Args:
        name: which.
        runs: size R of the pack.
        d_in: features in.
        num_slots: N.
        slot_dim: W.
        num_read_heads: H; 1 for ``cell``, which has no heads.

    Raises:
        ParameterError: there is no such memory, or it does not come in these sizes.
    """
    if name == "cell":
        if num_read_heads != 1:
            raise ParameterError(f"num_read_heads: {num_read_heads}; allowed of memory 'cell': 1")
        return MemoryCell(runs, d_in, num_slots, slot_dim)
    if name == "hierarchical":
        return HierarchicalMemory(runs, d_in, levels_of(num_slots), slot_dim, num_read_heads)
    if name == "sparse":
        return SparseMemory(runs, d_in, num_slots, slot_dim, num_read_heads, top_k=max(1, min(TOP_K, num_slots)))
    if name not in _WITH_HEADS:
        raise ParameterError(f"memory: {name!r} is no memory; allowed: {', '.join(get_args(MemoryName))}")
    return _WITH_HEADS[name](runs, d_in, num_slots, slot_dim, num_read_heads)


def levels_of(num_slots: int) -> tuple[int, ...]:
    """So many slots in ``LEVELS`` levels that differ by one at most.

    >>> levels_of(8), levels_of(2)
    ((3, 3, 2), (1, 1))

    Raises:
        ParameterError: there is no slot.
    """
    at_least_one(num_slots=num_slots)
    levels = min(LEVELS, num_slots)
    return tuple(num_slots // levels + (level < num_slots % levels) for level in range(levels))
