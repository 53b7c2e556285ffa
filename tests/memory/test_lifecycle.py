"""Slots with a life, against a slot-by-slot account of them in plain Python; the budget and the cap at every step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory import lifecycle
from palimpsest.memory.lifecycle import (
    FORGET,
    FORGOTTEN,
    FREE,
    REPLACED,
    RETAIN,
    RETAINED,
    UPDATE,
    UPDATED,
    WRITTEN,
    Controller,
    LifecycleState,
    Proposal,
    Step,
    StepLog,
    UpdateGate,
    allocate_ranked,
    allocate_requested,
    initial_state,
    step_ranked,
    step_requested,
)

RUNS, BATCH, DIM = 2, 2, 3
THRESHOLD = torch.tensor([0.5, 0.25])
CAPS = (0.05, 0.29, 0.3, 0.5, 0.7, 0.9, 1.0)


@dataclass(frozen=True)
class Setting:
    """What a property holds for: sizes, and the seed that everything else is drawn from."""

    num_slots: int
    budget: int
    cap: float
    seed: int
    requested: bool

    @property
    def most(self) -> int:
        """Slots that may live at the same time: ⌊cap N⌋, where a product that falls short by rounding counts."""
        return math.floor(self.cap * self.num_slots + 1e-6)


@st.composite
def settings_of(draw: st.DrawFn) -> Setting:
    """Any number of slots, and budgets from one operation to more than there is to do."""
    num_slots = draw(st.integers(1, 7))
    cap = draw(st.sampled_from([*CAPS, *(k / num_slots for k in range(1, num_slots))]))
    budget, seed = draw(st.integers(1, num_slots + 2)), draw(st.integers(0, 2**32 - 1))
    return Setting(num_slots, budget, cap, seed, draw(st.booleans()))


def proposals(rng: np.random.Generator, num_slots: int, least: float) -> Proposal:
    """Distributions of every sort, certain, undecided, equal to each other; scores at 0, 1, τ, and equal to a slot's.

    Args:
        rng: what they are drawn from.
        num_slots: N.
        least: what p(forget) is at least.
    """
    shape = (RUNS, BATCH, num_slots)
    sorts = np.stack(
        [
            rng.dirichlet([0.5, 0.5, 0.5], shape),
            np.eye(3)[rng.integers(3, size=shape)],
            np.full((*shape, 3), 1 / 3),
            0.5 * np.eye(3)[rng.integers(3, size=shape)] + 0.5 * np.eye(3)[rng.integers(3, size=shape)],
            rng.integers(1, 5, (*shape, 3)) / 4,
            np.zeros((*shape, 3)),
        ]
    )
    sort = rng.choice(6, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.05], size=shape)
    actions = np.take_along_axis(sorts, sort[None, ..., None], 0)[0]
    actions[..., FORGET] = np.maximum(actions[..., FORGET], least)
    actions = actions.astype(np.float32)
    choices = np.stack(
        [
            rng.random((RUNS, BATCH)),
            np.zeros((RUNS, BATCH)),
            np.ones((RUNS, BATCH)),
            np.broadcast_to(THRESHOLD.numpy()[:, None], (RUNS, BATCH)),
            actions[:, :, 0].max(-1),
        ]
    )
    score = np.take_along_axis(choices, rng.choice(5, p=[0.4, 0.1, 0.3, 0.1, 0.1], size=(1, RUNS, BATCH)), 0)[0]
    return Proposal(torch.from_numpy(actions), torch.from_numpy(score.astype(np.float32)))


@dataclass(frozen=True)
class Taken:
    """A step with what it was made from; ``read`` is the state after the read that follows it."""

    before: LifecycleState
    proposal: Proposal
    candidate: Tensor
    gate: Tensor
    step: Step
    weights: Tensor
    read: LifecycleState


def life(given: Setting, *, least: float = 0.0, steps: int = 8) -> Iterator[Taken]:
    """Steps with drawn proposals, and a read after each."""
    rng = np.random.default_rng(given.seed)
    state = initial_state(RUNS, BATCH, given.num_slots, DIM)
    for _ in range(steps):
        proposal = proposals(rng, given.num_slots, least)
        candidate = torch.from_numpy(rng.normal(size=(RUNS, BATCH, DIM)).astype(np.float32))
        gate = torch.from_numpy(rng.random((RUNS, BATCH, given.num_slots, DIM)).astype(np.float32))
        if given.requested:
            asked = allocate_requested(state, proposal, THRESHOLD, given.budget, given.cap, straight_through=True)
            step = step_requested(state, proposal, asked, candidate, gate, given.cap)
        else:
            step = step_ranked(
                state, proposal, allocate_ranked(proposal, THRESHOLD, given.budget), candidate, given.cap
            )
        weights = torch.from_numpy(rng.integers(0, 3, step.operations.shape) / 2).float() * (step.state.alive > 0.5)
        read = lifecycle.used(step.state, weights, step.state.steps - 1)
        yield Taken(state, proposal, candidate, gate, step, weights, read)
        state = read


@given(settings_of())
def test_no_step_executes_more_operations_than_the_budget_allows(given: Setting) -> None:
    for taken in life(given):
        assert (lifecycle.counted(taken.step.operations) <= given.budget).all()


@given(settings_of())
def test_requested_writes_never_take_the_memory_above_its_cap(given: Setting) -> None:
    for taken in life(given):
        living = (taken.step.state.alive > 0.5).sum(-1)
        assert (living <= (given.most if given.requested else given.num_slots)).all()


@given(settings_of())
def test_a_memory_above_its_cap_gets_no_fuller(given: Setting) -> None:
    rng = np.random.default_rng(given.seed)
    state = initial_state(RUNS, BATCH, given.num_slots, DIM)
    state = state._replace(alive=torch.ones_like(state.alive))
    proposal = proposals(rng, given.num_slots, 0.0)
    candidate, gate = torch.ones(RUNS, BATCH, DIM), torch.ones(RUNS, BATCH, given.num_slots, DIM)
    asked = allocate_requested(state, proposal, THRESHOLD, given.budget, given.cap, straight_through=False)
    step = step_requested(state, proposal, asked, candidate, gate, given.cap)
    left = given.num_slots - (step.operations == FORGOTTEN).sum(-1)
    assert torch.equal(step.state.alive.sum(-1).long(), left)
    assert (lifecycle.counted(step.operations) <= given.budget).all()


@given(settings_of())
def test_a_write_is_executed_only_if_its_score_exceeds_the_threshold_and_takes_one_slot(given: Setting) -> None:
    for taken in life(given):
        placed = ((taken.step.operations == WRITTEN) | (taken.step.operations == REPLACED)).sum(-1)
        assert torch.equal(placed.float(), taken.step.write)
        assert (placed <= (taken.proposal.score > THRESHOLD[:, None]).long()).all()


@given(settings_of())
def test_a_forgotten_slot_is_free_unless_it_was_written_in_the_same_step(given: Setting) -> None:
    for taken in life(given):
        operations, state = taken.step.operations, taken.step.state
        free = (operations == FREE) | (operations == FORGOTTEN)
        assert torch.equal(state.alive.detach(), 1.0 - free.float())
        assert not taken.before.alive[operations == FREE].any()
        for part in (state.age, state.usage):
            assert not part[free].any()
        for part in (state.time, state.last_used):
            assert (part[free] == -1).all()
        if given.requested:  # what has not lived cannot be forgotten; the ranked allocator may spend its budget on it
            assert (taken.before.alive[(operations == FORGOTTEN) | (operations == REPLACED)] == 1).all()


@given(settings_of())
def test_ages_usages_and_times_are_what_the_operations_say(given: Setting) -> None:
    shape = (RUNS, BATCH, given.num_slots)
    age, usage = np.zeros(shape), np.zeros(shape)
    time, last_used, placed = (np.full(shape, -1) for _ in range(3))
    for now, taken in enumerate(life(given)):
        assert taken.before.steps == now
        for slot in np.ndindex(shape):
            code = int(taken.step.operations[slot])
            if code in (FREE, FORGOTTEN):
                age[slot], usage[slot], time[slot], last_used[slot] = 0, 0, -1, -1
            elif code in (WRITTEN, REPLACED):
                age[slot], usage[slot], time[slot], last_used[slot] = 0, 0, now, now
            else:
                age[slot] += 1
                if code == UPDATED:
                    time[slot] = last_used[slot] = now
            if code in (WRITTEN, REPLACED):
                placed[slot] = now
            weights = taken.weights[slot[0], slot[1]]
            weight = float(taken.weights[slot])
            usage[slot] = 0.95 * usage[slot] + 0.05 * weight
            if weight > 0 and weight == float(weights.max()):
                last_used[slot] = now
        np.testing.assert_array_equal(taken.read.age.numpy(), age)
        np.testing.assert_array_equal(taken.read.time.numpy(), time)
        np.testing.assert_array_equal(taken.read.last_used.numpy(), last_used)
        np.testing.assert_allclose(taken.read.usage.numpy(), usage, rtol=1e-5, atol=1e-7)
        if not given.requested:  # a requested write is placed even when it is not executed
            np.testing.assert_array_equal(taken.read.placed.numpy(), placed)


@dataclass
class Slot:
    """One slot of the plain account."""

    content: np.ndarray
    alive: bool = False
    placed: int = -1


def first_largest(values: list[float]) -> int:
    """Position of the largest value, the first of equals."""
    return max(range(len(values)), key=lambda i: (values[i], -i))


def ranked_by_hand(
    slots: list[Slot], actions: list[list[float]], score: float, tau: float, vector: np.ndarray, given: Setting
) -> list[int]:
    """One step of the authors' allocator and transition, which change ``slots``; what happened to each."""
    num_slots = len(slots)
    best = [max(p) for p in actions]
    order = sorted(range(num_slots + 1), key=lambda i: (-[*best, score][i], i))[: given.budget]
    living = sum(slot.alive for slot in slots)
    writes = num_slots in order and score > tau and living < given.cap * num_slots - 1e-6
    done = {i: first_largest(actions[i]) for i in order if i < num_slots}
    forgotten = sorted(i for i, action in done.items() if action == FORGET)
    target = forgotten[0] if forgotten else min(range(num_slots), key=lambda i: (best[i], i))
    codes = []
    for i, slot in enumerate(slots):
        action = done.get(i)
        if action == FORGET:
            slot.content, slot.alive = np.zeros(DIM), False
        elif action == UPDATE:
            slot.content, slot.alive = (slot.content + vector) / 2, True
        elif action == RETAIN:
            slot.alive = True
        code = {FORGET: FORGOTTEN, UPDATE: UPDATED}.get(action, RETAINED if slot.alive else FREE)
        if writes and i == target:
            slot.content, slot.alive = vector, True
            code = REPLACED if action == FORGET else WRITTEN
        codes.append(code)
    return codes


def requested_by_hand(
    slots: list[Slot],
    actions: list[list[float]],
    score: float,
    tau: float,
    vector: np.ndarray,
    given: Setting,
    gate: np.ndarray,
    now: int,
) -> list[int]:
    """One step of the repaired allocator and transition, which change ``slots``; what happened to each."""
    num_slots = len(slots)
    wish = [first_largest(p) for p in actions]
    asking = [i for i in range(num_slots) if slots[i].alive and wish[i] != RETAIN]
    asking.sort(key=lambda i: (-actions[i][wish[i]], i))
    ahead = sum(actions[i][wish[i]] >= score for i in asking)
    cost = 1 if sum(slot.alive for slot in slots) < given.most else 2
    writes = score > tau and ahead < given.budget and cost <= given.budget
    executed = asking[: given.budget - cost * writes]
    codes = [RETAINED if slot.alive else FREE for slot in slots]
    for i in executed:
        if wish[i] == UPDATE:
            codes[i], slots[i].content = UPDATED, slots[i].content + gate[i] * (vector - slots[i].content)
        else:
            codes[i], slots[i].alive = FORGOTTEN, False
    kept = [i for i in range(num_slots) if slots[i].alive]
    if len(kept) < given.most:
        free = [i for i in range(num_slots) if not slots[i].alive]
        target = min(free, key=lambda i: (slots[i].placed, i))
        slots[target].content, slots[target].alive = vector, writes
    elif kept:
        target = max(kept, key=lambda i: (actions[i][FORGET], -i))
        if writes:
            slots[target].content = vector
    else:
        return codes
    slots[target].placed = now
    if writes:
        codes[target] = WRITTEN if codes[target] == FREE else REPLACED
    return codes


@settings(max_examples=200)
@given(settings_of())
def test_both_allocators_and_transitions_equal_the_account_by_hand(given: Setting) -> None:
    accounts = {row: [Slot(np.zeros(DIM)) for _ in range(given.num_slots)] for row in np.ndindex(RUNS, BATCH)}
    for now, taken in enumerate(life(given)):
        for row, slots in accounts.items():
            actions, score = taken.proposal.actions[row].tolist(), float(taken.proposal.score[row])
            tau, vector = float(THRESHOLD[row[0]]), taken.candidate[row].double().numpy()
            if given.requested:
                gate = taken.gate[row].double().numpy()
                codes = requested_by_hand(slots, actions, score, tau, vector, given, gate, now)
                assert taken.step.state.placed[row].tolist() == [slot.placed for slot in slots]
            else:
                codes = ranked_by_hand(slots, actions, score, tau, vector, given)
            assert taken.step.operations[row].tolist() == codes
            assert taken.step.state.alive[row].tolist() == [float(slot.alive) for slot in slots]
            expected = np.stack([slot.content for slot in slots])
            np.testing.assert_allclose(taken.step.state.slots[row].detach().numpy(), expected, rtol=1e-5, atol=1e-5)


def one(*rows: tuple[float, float, float]) -> Tensor:
    """Actions of one sequence's slots."""
    return torch.tensor(rows)[None, None]


def full(contents: list[list[float]]) -> LifecycleState:
    """A memory of one sequence all of whose slots live."""
    slots = torch.tensor(contents)[None, None]
    state = initial_state(1, 1, slots.shape[2], slots.shape[3])
    return state._replace(slots=slots, alive=torch.ones(1, 1, slots.shape[2]), steps=9)


def take(
    state: LifecycleState,
    actions: Tensor,
    score: float | Tensor,
    *,
    budget: int = 4,
    cap: float = 1.0,
    noise: Tensor | None = None,
) -> Step:
    """A requested step of one run that writes ones, updates halfway, and has τ = 0.5."""
    runs, batch, _, dim = state.slots.shape
    if not isinstance(score, Tensor):
        score = torch.full((runs, batch), score)
    proposal = Proposal(actions, score)
    asked = allocate_requested(state, proposal, torch.full((runs,), 0.5), budget, cap, straight_through=True)
    candidate, gate = torch.ones(runs, batch, dim), torch.full_like(state.slots, 0.5)
    return step_requested(state, proposal, asked, candidate, gate, cap, noise)


RETAINING = ((0.8, 0.1, 0.1), (0.5, 0.1, 0.4), (0.7, 0.1, 0.2))


def test_a_write_into_a_full_memory_replaces_the_likeliest_to_be_forgotten_and_costs_two() -> None:
    state = full([[2.0], [3.0], [4.0]])
    step = take(state, one(*RETAINING), 0.9, budget=2)
    assert step.operations.tolist() == [[[RETAINED, REPLACED, RETAINED]]]
    assert lifecycle.counted(step.operations).item() == 2
    assert step.state.slots.squeeze().tolist() == [2.0, 1.0, 4.0]
    assert take(state, one(*RETAINING), 0.9, budget=1).operations.tolist() == [[[RETAINED] * 3]]


def test_a_write_that_finds_room_leaves_the_rest_of_the_budget_to_the_slots() -> None:
    updating = one((0.1, 0.8, 0.1), (0.1, 0.2, 0.7), (0.3, 0.6, 0.1))
    room = full([[2.0], [3.0], [4.0]])
    room = room._replace(alive=torch.tensor([[[1.0, 1.0, 0.0]]]), placed=torch.tensor([[[5, 4, 3]]]))
    assert take(room, updating, 0.9, budget=2).operations.tolist() == [[[UPDATED, RETAINED, WRITTEN]]]
    assert take(room, updating, 0.75, budget=3).operations.tolist() == [[[UPDATED, FORGOTTEN, WRITTEN]]]
    assert take(room, updating, 0.6, budget=2).operations.tolist() == [[[UPDATED, FORGOTTEN, FREE]]]


def test_a_cap_below_one_slot_lets_nothing_be_written() -> None:
    state = initial_state(1, 1, 3, 1)
    step = take(state, one(*RETAINING), 1.0, cap=0.2)
    assert step.operations.tolist() == [[[FREE] * 3]]
    assert step.write.item() == 0


def test_with_noise_a_full_memory_gives_up_slots_in_proportion_to_their_probability_of_being_forgotten() -> None:
    draws, chances = 20_000, torch.tensor([0.1, 0.25, 0.4, 0.05])
    actions = torch.stack([1 - chances, torch.zeros(4), chances], -1).expand(1, draws, 4, 3)
    state = full([[0.0]] * 4)
    state = LifecycleState(*(part.expand(1, draws, *part.shape[2:]) for part in state[:-1]), steps=9)
    noise = torch.rand(1, draws, 4, generator=torch.Generator().manual_seed(0))
    step = take(state, actions, 0.9, noise=noise)
    observed = (step.operations == REPLACED).sum((0, 1)).double()
    expected = draws * chances / chances.sum()
    assert observed.sum() == draws
    assert ((observed - expected) ** 2 / expected).sum() < 16.3  # χ² with three degrees of freedom exceeds it in 0.1 %


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_noise_at_its_limits_still_gives_up_one_slot(value: float) -> None:
    step = take(full([[2.0], [3.0], [4.0]]), one(*RETAINING), 0.9, noise=torch.full((1, 1, 3), value))
    assert step.operations.tolist() == [[[RETAINED, REPLACED, RETAINED]]]


@given(st.integers(1, 300), st.integers(0, 300), st.integers(1, 3))
def test_of_equal_candidates_the_first_are_executed(candidates: int, budget: int, values: int) -> None:
    utility = (torch.arange(candidates) % values).float().expand(2, 1, candidates)
    allowed = (torch.arange(candidates) % 5 != 0).expand(2, 1, candidates)
    chosen = lifecycle.highest(utility, allowed, budget)[1, 0].nonzero().flatten().tolist()
    wanted = [i for i in range(candidates) if i % 5]
    assert chosen == sorted(sorted(wanted, key=lambda i: (-(i % values), i))[:budget])


@pytest.mark.parametrize(("num_slots", "cap", "most"), [(100, 0.29, 29), (50, 0.58, 29), (100, 0.57, 57), (7, 0.5, 3)])
def test_a_share_that_falls_short_by_rounding_still_allows_its_slots(num_slots: int, cap: float, most: int) -> None:
    state = initial_state(1, 1, num_slots, 1)
    actions = one(*[(1.0, 0.0, 0.0)] * num_slots)
    for living in (most - 1, most):
        state = state._replace(alive=(torch.arange(num_slots) < living).float()[None, None])
        assert lifecycle.is_full(state, cap).item() == (living == most)
        assert take(state, actions, 0.9, budget=2, cap=cap).state.alive.sum() == most


def test_a_slot_that_is_forgotten_makes_room_for_the_write_of_the_same_step() -> None:
    forgetting = one((0.1, 0.0, 0.9), (0.9, 0.0, 0.1))
    step = take(full([[2.0], [3.0]]), forgetting, 0.95, budget=3)
    assert step.operations.tolist() == [[[REPLACED, RETAINED]]]
    assert step.state.time.tolist() == [[[9, -1]]]


def test_candidates_that_are_not_written_take_turns_and_change_nothing_that_is_read() -> None:
    state, idle = initial_state(1, 1, 3, 1), one(*RETAINING)
    for slot in (0, 1, 2, 0):
        before = state
        state = take(state, idle, 0.1).state
        assert state.alive.sum() == 0
        assert (state.placed != before.placed).squeeze().nonzero().tolist() == [[slot]]
    assert take(state, idle, 0.9).operations.tolist() == [[[FREE, WRITTEN, FREE]]]


@given(settings_of())
def test_the_next_step_is_compared_with_what_was_proposed_or_executed_for_what_lived(given: Setting) -> None:
    for taken in life(given):
        state, before = taken.step.state, taken.before.alive == 1
        if given.requested:
            assert torch.equal(state.actions, taken.proposal.actions * before[..., None])
            continue
        for slot in np.ndindex(before.shape):
            expected = acted(int(taken.step.operations[slot])) if before[slot] else [0, 0, 0]
            assert state.actions[slot].tolist() == expected


# Losses


def step_log(seed: int) -> StepLog:
    """Random steps, among which are slots that were free then or before."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(2, 3, *shape, generator=generator)

    before = drawn(5, 4, 3).softmax(-1) * (drawn(5, 4, 1) > 0.3)
    return StepLog(
        score=drawn(5).requires_grad_(),
        write=(drawn(5) > 0.5).float(),
        actions=drawn(5, 4, 3).softmax(-1).requires_grad_(),
        actions_before=before,
        operations=torch.randint(0, 6, (2, 3, 5, 4), generator=generator),
        alive_before=(drawn(5, 4) > 0.4).float(),
        age_before=(9 * drawn(5, 4)).floor(),
        usage_before=drawn(5, 4),
        alive=(drawn(5, 4) > 0.4).float(),
        age=(9 * drawn(5, 4)).floor(),
    )


def acted(code: int) -> list[float]:
    """What was done to a slot that was not free, as a distribution."""
    if code == UPDATED:
        return [0.0, 1.0, 0.0]
    return [0.0, 0.0, 1.0] if code in (FORGOTTEN, REPLACED) else [1.0, 0.0, 0.0]


@pytest.mark.parametrize("of_masks", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_losses_equal_their_sums_slot_by_slot(seed: int, of_masks: bool) -> None:
    given = step_log(seed)
    found = lifecycle.losses(given, of_masks=of_masks)
    for run in range(2):
        writes, forgets, churns = [], [], []
        for row in np.ndindex(3, 5):
            writes.append((given.write if of_masks else given.score)[run][row].item())
            for slot in range(4):
                at = (run, *row, slot)
                if not given.alive_before[at]:
                    continue
                p = acted(int(given.operations[at])) if of_masks else given.actions[at].tolist()
                price = 1 / (1 + given.age_before[at].item()) + given.usage_before[at].item()
                forgets.append(p[FORGET] * price)
                before = given.actions_before[at].tolist()
                if any(before):
                    churns.append(sum((x - y) ** 2 for x, y in zip(p, before, strict=True)))
        for term, values in (("write", writes), ("forget", forgets), ("stability", churns)):
            assert found[term][run].item() == pytest.approx(np.mean(values), rel=1e-5)


def test_losses_of_masks_have_no_gradient_and_those_of_probabilities_have_one() -> None:
    given = step_log(2)
    assert not any(loss.requires_grad for loss in lifecycle.losses(given, of_masks=True).values())
    for term, loss in lifecycle.losses(given, of_masks=False).items():
        given.score.grad = given.actions.grad = None
        loss.sum().backward(retain_graph=True)
        assert (given.score.grad if term == "write" else given.actions.grad).abs().sum() > 0


def test_losses_of_a_memory_that_never_held_anything_are_zero_and_finite() -> None:
    given = step_log(3)
    given = given._replace(
        alive_before=torch.zeros_like(given.alive_before), actions_before=torch.zeros_like(given.actions)
    )
    found = lifecycle.losses(given, of_masks=False)
    assert found["forget"].tolist() == found["stability"].tolist() == [0.0, 0.0]
    sum(loss.sum() for loss in found.values()).backward()
    assert torch.isfinite(given.actions.grad).all()


@given(st.integers(0, 1000), st.integers(1, 1000), st.floats(0, 1), st.floats(0.01, 1))
def test_forgetting_costs_more_for_younger_and_for_more_used_slots(
    age: int, older: int, usage: float, more: float
) -> None:
    ages, usages = (
        torch.tensor([age, age + older, age]).double(),
        torch.tensor([usage, usage, usage + more], dtype=torch.float64),
    )
    price = lifecycle.forget_price(ages, usages)
    assert price[1] < price[0] < price[2]


# Gradients


def drawn_controller(runs: int, dim: int, **options: float) -> Controller:
    controller = Controller(runs, dim, 16, **options)
    reset_parameters(controller, [torch.Generator().manual_seed(run) for run in range(runs)])
    return controller


def test_controller_equals_numpy() -> None:
    controller = drawn_controller(2, 3, age_unit=4.0, offsets=(1.0, -0.5, 0.0), ageing=0.25, write_bias=-1.5)
    rng = torch.Generator().manual_seed(4)
    state = initial_state(2, 3, 4, 3)._replace(
        slots=torch.randn(2, 3, 4, 3, generator=rng),
        age=torch.randint(0, 9, (2, 3, 4), generator=rng).float(),
        usage=torch.rand(2, 3, 4, generator=rng),
    )
    context = torch.randn(2, 3, 3, generator=rng)
    actions, score = controller.actions(state, controller.of_context(context)), controller.score(context)
    for run, row in np.ndindex(2, 3):

        def linear(layer: torch.nn.Module, x: np.ndarray, run: int = run) -> np.ndarray:
            return x @ layer.weight[run].detach().numpy() + layer.bias[run].detach().numpy()

        heard = context[run, row].numpy()
        for slot in range(4):
            age, usage = state.age[run, row, slot].item() / 4, state.usage[run, row, slot].item()
            seen = np.append(state.slots[run, row, slot].numpy(), [age, usage])
            hidden = np.maximum(linear(controller.of_slot, seen) + linear(controller.of_context, heard), 0)
            logits = linear(controller.action, np.maximum(linear(controller.hidden, hidden), 0))
            weights = np.exp(logits + np.array([1.0, -0.5, 0.25 * age]))
            found = actions[run, row, slot].detach().numpy()
            np.testing.assert_allclose(found, weights / weights.sum(), rtol=1e-4)
        logit = linear(controller.write_logit, np.maximum(linear(controller.write_hidden, heard), 0)).item()
        assert controller.write_logit.bias[run].item() == -1.5
        assert score[run, row].item() == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-4)


def test_update_gate_equals_numpy() -> None:
    gate = UpdateGate(2, 3)
    reset_parameters(gate, [torch.Generator().manual_seed(run) for run in range(2)])
    rng = torch.Generator().manual_seed(4)
    slots, context = torch.randn(2, 2, 4, 3, generator=rng), torch.randn(2, 2, 3, generator=rng)
    found = gate(slots, gate.of_context(context))
    for run in range(2):
        u, v = (
            x @ layer.weight[run].detach().numpy() + layer.bias[run].detach().numpy()
            for layer, x in ((gate.of_slot, slots[run].numpy()), (gate.of_context, context[run].numpy()))
        )
        np.testing.assert_allclose(found[run].detach().numpy(), 1 / (1 + np.exp(-u - v[:, None])), rtol=1e-4)


def read_after(controller: Controller, gate: UpdateGate, contexts: Tensor, *, straight_through: bool) -> Tensor:
    """What a query reads from a memory that has lived through the contexts (R, B, S, D)."""
    runs, batch, steps, dim = contexts.shape
    state = initial_state(runs, batch, 4, dim)
    for step in range(steps):
        context = contexts[:, :, step]
        proposal = Proposal(controller.actions(state, controller.of_context(context)), controller.score(context))
        threshold = torch.full((runs,), 0.45)
        asked = allocate_requested(state, proposal, threshold, 3, 0.75, straight_through=straight_through)
        gates = gate(state.slots, gate.of_context(context))
        state = step_requested(state, proposal, asked, context, gates, 0.75).state
        state = lifecycle.used(state, state.alive.detach() / 4, state.steps - 1)
    weights = state.alive * torch.sigmoid((state.slots * contexts[:, :, :1]).sum(-1))
    return (weights[..., None] * state.slots).sum(2)


def test_with_straight_through_the_task_reaches_every_parameter_of_controller_and_gate() -> None:
    controller, gate = drawn_controller(2, 5), UpdateGate(2, 5)
    reset_parameters(gate, [torch.Generator().manual_seed(9)] * 2)
    contexts = torch.randn(2, 6, 8, 5, generator=torch.Generator().manual_seed(1))
    read_after(controller, gate, contexts, straight_through=True).square().sum().backward()
    for name, parameter in [*controller.named_parameters(), *gate.named_parameters()]:
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad.flatten(1).abs().sum(1) > 0).all(), name


def test_without_straight_through_the_task_reaches_no_parameter_of_the_controller() -> None:
    controller, gate = drawn_controller(2, 5), UpdateGate(2, 5)
    reset_parameters(gate, [torch.Generator().manual_seed(9)] * 2)
    contexts = torch.randn(2, 6, 8, 5, generator=torch.Generator().manual_seed(1))
    read_after(controller, gate, contexts, straight_through=False).square().sum().backward()
    assert all(parameter.grad is None for parameter in controller.parameters())
    assert all((parameter.grad != 0).any() for parameter in gate.parameters())


def test_gradients_are_finite_where_nothing_but_zeros_was_ever_seen() -> None:
    controller, gate = drawn_controller(1, 5), UpdateGate(1, 5)
    reset_parameters(gate, [torch.Generator().manual_seed(9)])
    read_after(controller, gate, torch.zeros(1, 2, 5, 5), straight_through=True).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in controller.parameters())


def test_straight_through_changes_no_value() -> None:
    controller, gate = drawn_controller(2, 5), UpdateGate(2, 5)
    reset_parameters(gate, [torch.Generator().manual_seed(9)] * 2)
    contexts = torch.randn(2, 6, 8, 5, generator=torch.Generator().manual_seed(2))
    with_it, without = (read_after(controller, gate, contexts, straight_through=on) for on in (True, False))
    assert torch.equal(with_it, without)


@pytest.mark.parametrize("worth", [1.0, -1.0])
def test_a_write_that_was_not_executed_hears_what_it_would_have_been_worth(worth: float) -> None:
    score = torch.full((1, 1), 0.2, requires_grad=True)
    step = take(initial_state(1, 1, 2, 1), one(*RETAINING[:2]), score)
    assert step.write.item() == step.state.alive.sum().item() == 0
    read = (step.state.alive[..., None] * step.state.slots).sum()
    assert read.item() == 0
    (-worth * read).backward()
    assert score.grad.item() == pytest.approx(-worth)  # a descent raises the score if the loss falls with the read


@pytest.mark.parametrize("content", [-3.0, 5.0])
def test_in_a_full_memory_a_write_hears_what_it_is_worth_beside_what_it_would_replace(content: float) -> None:
    score = torch.full((1, 1), 0.2, requires_grad=True)
    step = take(full([[content], [0.0]]), one((0.6, 0.0, 0.4), (0.9, 0.0, 0.1)), score)
    assert step.operations.tolist() == [[[RETAINED, RETAINED]]]
    step.state.slots.sum().backward()
    assert score.grad.item() == pytest.approx(1.0 - content)


@pytest.mark.parametrize("forget", [0.1, 0.8])
@pytest.mark.parametrize("content", [-2.0, 3.0])
def test_whether_a_slot_is_forgotten_or_not_its_probability_hears_what_the_slot_is_worth(
    content: float, forget: float
) -> None:
    actions = one((1 - forget, 0.0, forget), (1.0, 0.0, 0.0)).requires_grad_()
    state = full([[content], [0.0]])._replace(alive=torch.tensor([[[1.0, 0.0]]]), placed=torch.tensor([[[5, 4]]]))
    step = take(state, actions, 0.1)
    assert (step.operations[0, 0, 0] == FORGOTTEN) == (forget > 0.5)
    (step.state.alive * step.state.slots.squeeze(-1)).sum().backward()
    assert actions.grad[0, 0, 0, FORGET].item() == pytest.approx(-content)


def test_an_update_that_was_executed_hears_its_worth_and_one_that_was_not_says_nothing() -> None:
    actions = one((0.1, 0.8, 0.1), (0.2, 0.7, 0.1)).requires_grad_()
    step = take(full([[3.0], [3.0]]), actions, 0.1, budget=1)
    assert step.operations.tolist() == [[[UPDATED, RETAINED]]]
    step.state.slots.sum().backward()
    assert actions.grad[0, 0, :, UPDATE].tolist() == pytest.approx([0.5 * (1.0 - 3.0), 0.0])


def test_what_the_ranked_transition_stores_carries_no_gradient() -> None:
    actions = one(*RETAINING).requires_grad_()
    proposal = Proposal(actions, torch.full((1, 1), 0.9, requires_grad=True))
    allocation = allocate_ranked(proposal, torch.tensor([0.5]), 2)
    candidate = torch.ones(1, 1, 1, requires_grad=True)
    step = step_ranked(initial_state(1, 1, 3, 1), proposal, allocation, candidate, 0.7)
    assert step.write.item() == 1
    assert not any(part.requires_grad for part in step.state[:-1])
