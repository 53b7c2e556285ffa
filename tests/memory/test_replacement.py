"""Replacement by rule, against a list that is kept by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.memory import lifecycle
from palimpsest.memory.lifecycle import (
    FORGET,
    FORGOTTEN,
    WRITTEN,
    LifecycleState,
    allocate_requested,
    initial_state,
    step_requested,
)
from palimpsest.memory.replacement import displace

PRIORITIES = {
    "fifo": lambda state: state.time.float(),
    "lru": lambda state: state.last_used.float(),
    "least_used": lambda state: state.usage,
}


def step_by_rule(
    state: LifecycleState, priority: torch.Tensor, wanted: torch.Tensor, content: float, budget: int, cap: float
) -> lifecycle.Step:
    """What a policy's wish comes to, when ``content`` is what there is to write."""
    proposal = displace(state, priority, wanted, cap)
    runs, batch, _, dim = state.slots.shape
    threshold = torch.full((runs,), 0.5)
    allocation = allocate_requested(state, proposal, threshold, budget, cap, straight_through=False)
    candidate = torch.full((runs, batch, dim), content)
    return step_requested(state, proposal, allocation, candidate, torch.full_like(state.slots, 0.5), cap)


@dataclass
class Item:
    """One vector of the list that is kept by hand."""

    content: float
    written: int
    used: int
    usage: float = 0.0


RANK = {"fifo": lambda item: item.written, "lru": lambda item: item.used, "least_used": lambda item: item.usage}


@given(
    st.sampled_from(sorted(PRIORITIES)),
    st.integers(1, 6),
    st.sampled_from([0.1, 0.5, 0.7, 1.0]),
    st.integers(2, 5),
    st.integers(0, 2**32 - 1),
)
def test_policies_give_up_what_a_list_kept_by_hand_gives_up(
    policy: str, num_slots: int, cap: float, budget: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    most = math.floor(cap * num_slots + 1e-6)
    state = initial_state(1, 1, num_slots, 1)
    items: list[Item] = []
    for now in range(15):
        wanted = bool(rng.random() < 0.8)
        step = step_by_rule(state, PRIORITIES[policy](state), torch.tensor([[float(wanted)]]), float(now), budget, cap)
        living = {float(x) for x in step.state.slots[0, 0, step.state.alive[0, 0] > 0.5, 0]}
        gone = [item for item in items if item.content not in living]
        assert len(gone) == (wanted and len(items) == most and most > 0)
        for item in gone:  # which of equals it is, is a matter of where they lie
            assert RANK[policy](item) <= min(map(RANK[policy], items)) + 1e-6
            items.remove(item)
        if wanted and most:
            items.append(Item(float(now), now, now))
        assert living == {item.content for item in items}
        weights = torch.from_numpy(rng.integers(0, 4, (1, 1, num_slots)) / 4).float() * step.state.alive
        state = lifecycle.used(step.state, weights, now)
        for item in items:
            weight = float(weights[0, 0, step.state.slots[0, 0, :, 0].tolist().index(item.content)])
            item.usage = 0.95 * item.usage + 0.05 * weight
            if weight > 0 and weight == float(weights.max()):
                item.used = now


@given(st.integers(1, 6), st.integers(1, 8), st.sampled_from([0.1, 0.5, 0.7, 1.0]), st.integers(0, 2**32 - 1))
def test_nothing_is_given_up_where_there_is_room_or_nothing_is_wanted(
    num_slots: int, batch: int, cap: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    state = initial_state(2, batch, num_slots, 1)
    state = state._replace(alive=(torch.rand(2, batch, num_slots, generator=generator) > 0.5).float())
    wanted = (torch.rand(2, batch, generator=generator) > 0.5).float()
    priority = torch.randn(2, batch, num_slots, generator=generator)
    proposal = displace(state, priority, wanted, cap)
    given_up = proposal.actions[..., FORGET]
    has_room = state.alive.sum(-1) < math.floor(cap * num_slots + 1e-6)
    assert torch.equal(proposal.score, wanted)
    assert torch.equal(proposal.actions.sum(-1), torch.ones_like(given_up))
    assert not given_up[has_room | (wanted == 0)].any()
    assert not given_up[state.alive == 0].any()
    must = ~has_room & (wanted == 1) & state.alive.bool().any(-1)
    assert torch.equal(given_up.sum(-1) == 1, must)
    lowest = priority.masked_fill(state.alive == 0, math.inf).amin(-1)
    assert torch.equal((priority * given_up).sum(-1)[must], lowest[must])


def test_of_equal_priorities_the_first_living_slot_is_given_up() -> None:
    state = initial_state(1, 1, 4, 1)._replace(alive=torch.tensor([[[0.0, 1.0, 1.0, 1.0]]]))
    proposal = displace(state, torch.tensor([[[0.0, 5.0, 2.0, 2.0]]]), torch.ones(1, 1), 0.75)
    assert proposal.actions[0, 0, :, FORGET].tolist() == [0.0, 0.0, 1.0, 0.0]


def test_nothing_is_written_where_it_is_not_wanted() -> None:
    state = initial_state(1, 2, 3, 1)
    step = step_by_rule(state, state.time.float(), torch.tensor([[0.0, 1.0]]), 7.0, 4, 1.0)
    assert step.write.tolist() == [[0.0, 1.0]]
    assert step.state.alive.sum(-1).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("cap", [0.5, 1.0])
def test_with_a_budget_of_one_giving_up_and_writing_take_two_steps(cap: float) -> None:
    state = initial_state(1, 1, 2, 1)
    seen = []
    for now in range(6):
        step = step_by_rule(state, state.time.float(), torch.ones(1, 1), float(now), 1, cap)
        assert lifecycle.counted(step.operations).item() == 1
        seen.append(WRITTEN if step.write.item() else FORGOTTEN)
        state = step.state
    filled = round(2 * cap)
    assert seen == ([WRITTEN] * filled + [FORGOTTEN, WRITTEN] * 3)[:6]


@given(st.sampled_from(sorted(PRIORITIES)), st.integers(1, 6), st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_a_memory_that_is_full_stays_full(policy: str, num_slots: int, budget: int, seed: int) -> None:
    """So the share of slots in use has no slope once as many steps as slots have written, whatever is replaced."""
    rng = np.random.default_rng(seed)
    state = initial_state(1, 1, num_slots, 1)
    used = []
    for now in range(4 * num_slots):
        wanted = float(now < num_slots or rng.random() < 0.7)
        priority = PRIORITIES[policy](state)
        state = step_by_rule(state, priority, torch.tensor([[wanted]]), float(now), budget, 1.0).state
        used.append(int(state.alive.sum()))
    assert used[num_slots - 1 :] == [num_slots] * (3 * num_slots + 1)
