"""Where a vector goes: in turn, or where least is lost; exactly one slot always."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.memory.placement import at_weakest, in_turn


@given(st.integers(1, 6), st.integers(0, 20))
def test_in_turn_is_the_step_modulo_the_slots(num_slots: int, steps: int) -> None:
    placed = in_turn(torch.tensor([[steps]]), num_slots, torch.zeros(1, dtype=torch.float64))
    assert placed.dtype == torch.float64
    assert placed.flatten().tolist() == [float(slot == steps % num_slots) for slot in range(num_slots)]


@given(st.lists(st.sampled_from([-1e30, -2.0, -1.0, 0.0]), min_size=1, max_size=6))
def test_at_weakest_is_the_first_of_the_smallest_weights(weights: list[float]) -> None:
    placed = at_weakest(torch.tensor([[weights]], requires_grad=True))
    least = weights.index(min(weights))
    assert placed.flatten().tolist() == [float(slot == least) for slot in range(len(weights))]
    assert not placed.requires_grad
