"""Every name gives its memory in the sizes that are asked for, and names the sizes that it does not come in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.hierarchical import HierarchicalMemory, levels_of
from palimpsest.memory.named import module_of, named_memory, names

KINDS = {
    "cell": "MemoryCell",
    "dynamic": "DynamicMemory",
    "associative": "AssociativeMemory",
    "least_recently_used": "LeastRecentlyUsedAccess",
    "attention": "AttentionMemory",
    "sparse": "SparseMemory",
    "hierarchical": "HierarchicalMemory",
    "adaptive": "AdaptiveMemory",
    "gated": "GatedMemory",
    "selective": "SelectiveMemory",
    "lifecycle": "LifecycleMemory",
}
"""Memories of sources 000, 001 and 004; a further one need not be listed."""


def test_names_are_those_of_files() -> None:
    assert set(KINDS) <= set(names())
    for name, kind in KINDS.items():
        assert type(named_memory(name, 1, 3, 7, 4)).__name__ == kind


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("num_slots", [1, 7])
def test_a_name_gives_its_memory_in_the_sizes_asked_for(name: Any, num_slots: int) -> None:
    cell = named_memory(name, 2, 3, num_slots, 4)
    assert cell.num_slots == num_slots
    reset_parameters(cell, [torch.Generator().manual_seed(seed) for seed in range(2)])
    outputs, _ = cell.step(torch.ones(2, 5, 3), cell.initial_state(5))
    assert outputs.shape == (2, 5, cell.d_out)
    assert torch.isfinite(outputs).all()


def test_a_name_that_no_file_has_is_one_line() -> None:
    with pytest.raises(ParameterError, match=r"^memory: 'ntm' is no memory; allowed: adaptive, [^\n]+$"):
        module_of("ntm")


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"cell"}))
def test_heads_are_as_many_as_asked_for(name: Any) -> None:
    assert named_memory(name, 1, 3, 7, 4, 2).num_read_heads == 2


@given(st.integers(1, 50))
def test_slots_are_dealt_out_to_levels_the_faster_first(num_slots: int) -> None:
    levels = levels_of(num_slots)
    assert sum(levels) == num_slots
    assert len(levels) == min(3, num_slots)
    assert levels[0] - levels[-1] <= 1
    assert list(levels) == sorted(levels, reverse=True)
    cell = named_memory("hierarchical", 1, 3, num_slots, 4)
    assert isinstance(cell, HierarchicalMemory)
    assert cell.level_slots == levels


@pytest.mark.parametrize(
    ("name", "sizes", "problem"),
    [
        ("cell", {"num_read_heads": 2}, "num_read_heads: 2; allowed of memory 'cell': 1"),
        ("hierarchical", {"num_slots": 0}, "num_slots: 0 is too small; allowed: 1 or more"),
        ("sparse", {"num_slots": 0}, "num_slots: 0 is too small; allowed: 1 or more"),
        ("attention", {"num_read_heads": 3}, "num_read_heads: 3 does not divide slot_dim 4"),
        ("least_recently_used", {"num_read_heads": 8}, "num_read_heads: 8 is out of range; allowed: 1 to 7"),
        ("gated", {"slot_dim": 0}, "slot_dim: 0 is too small; allowed: 1 or more"),
    ],
)
def test_sizes_that_a_memory_does_not_come_in_are_refused_in_one_line(name: Any, sizes: Any, problem: str) -> None:
    with pytest.raises(ParameterError, match=f"^{problem}") as caught:
        named_memory(name, **{"runs": 1, "d_in": 3, "num_slots": 7, "slot_dim": 4, **sizes})
    assert "\n" not in str(caught.value)
