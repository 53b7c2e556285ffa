"""Dynamic memory against its equations; what is collected, what is moved, and that reads do not notice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory import dynamic
from palimpsest.memory.addressing import content_weights, read
from palimpsest.memory.dynamic import DynamicMemory, DynamicState
from tests.memory.cells import D_IN, inputs, numpy_parameters, unroll

SLOTS, DIM, HEADS = 4, 3, 2


def made(threshold: float, compaction: bool = False) -> DynamicMemory:
    cell = DynamicMemory(2, D_IN, SLOTS, DIM, HEADS, threshold=threshold, compaction=compaction)
    reset_parameters(cell, [torch.Generator().manual_seed(seed) for seed in range(2)])
    return cell.double()


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def naive(parameters: dict[str, Any], xs: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One example, slot by slot: the outputs, and memory and usage at the end."""
    memory, usage, write = np.zeros((SLOTS, DIM)), np.zeros(SLOTS), np.zeros(SLOTS)
    reads, outputs = np.zeros((HEADS, SLOTS)), []
    for x in xs:
        projected = x @ parameters["project.weight"] + parameters["project.bias"]
        keys, value, strengths, gates = np.split(projected, np.cumsum([HEADS * DIM, DIM, HEADS]))
        free, gate = sigmoid(gates[:HEADS]), sigmoid(gates[HEADS])
        for i in range(SLOTS):
            retention = np.prod([1 - free[h] * reads[h, i] for h in range(HEADS)])
            usage[i] = (usage[i] + write[i] - usage[i] * write[i]) * retention
            if usage[i] < threshold:
                usage[i], memory[i] = 0, 0
        taken, allocated = 1.0, np.zeros(SLOTS)
        for i in np.argsort(usage, kind="stable"):
            used = 1e-6 + (1 - 1e-6) * usage[i]  # as palimpsest.memory.addressing.allocation counts it
            allocated[i], taken = (1 - used) * taken, taken * used
        write = gate * allocated
        for i in range(SLOTS):
            memory[i] = (1 - write[i]) * memory[i] + write[i] * value
        for h, key in enumerate(keys.reshape(HEADS, DIM)):
            scores = np.array([slot @ key / max(np.linalg.norm(slot), 1e-3) / np.linalg.norm(key) for slot in memory])
            scores = np.exp((1 + np.log1p(np.exp(strengths[h]))) * scores)
            reads[h] = scores / scores.sum()
        outputs.append((reads @ memory).ravel())
    return np.array(outputs), memory, usage


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.3])
def test_every_step_is_that_of_the_equations(threshold: float) -> None:
    cell = made(threshold)
    xs = inputs(time=12, dtype=torch.float64)
    outputs, states = unroll(cell, xs)
    collected = False
    for run, example in np.ndindex(2, 3):
        expected, memory, usage = naive(numpy_parameters(cell, run), xs[run, example].numpy(), threshold)
        found = (outputs, states[-1].slots, states[-1].usage)
        for mine, theirs in zip(found, (expected, memory, usage), strict=True):
            np.testing.assert_allclose(mine[run, example].detach().numpy(), theirs, atol=1e-9)
        collected |= bool((usage == 0).any())
    assert collected == (threshold > 0.1)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_collection_empties_almost_unused_slots_and_no_others(seed: int, threshold: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    slots, usage = torch.randn(1, 2, 5, 3, generator=generator), torch.rand(1, 2, 5, generator=generator)
    kept, used = dynamic.collect(slots, usage, threshold)
    for example, slot in np.ndindex(2, 5):
        where = (0, example, slot)
        if usage[where] < threshold:
            assert not kept[where].any()
            assert used[where] == 0
        else:
            assert torch.equal(kept[where], slots[where])
            assert used[where] == usage[where]


@st.composite
def states_of(draw: st.DrawFn) -> DynamicState:
    """Memories with free, hardly used and full slots in any order."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    usage = torch.rand(2, 2, 6, generator=generator) * (torch.rand(2, 2, 6, generator=generator) > 0.5)
    write = torch.zeros(2, 2, 1, 6)
    write[..., draw(st.integers(0, 5))] = draw(st.sampled_from([0.0, 0.5, 1.0]))
    slots = torch.randn(2, 2, 6, 3, generator=generator)
    return DynamicState(slots, usage, torch.rand(2, 2, 1, 6, generator=generator).softmax(-1), write)


@settings(max_examples=30)
@given(states_of(), st.sampled_from([0.0, 0.01, 0.5]))
def test_compaction_moves_living_slots_together_in_their_order(state: DynamicState, threshold: float) -> None:
    after = dynamic.compact(state, threshold)
    living, moved = dynamic.living(state, threshold), dynamic.living(after, threshold)
    for run, example in np.ndindex(2, 2):
        at = (run, example)
        order = [i for i in range(6) if living[at][i]] + [i for i in range(6) if not living[at][i]]
        assert moved[at].tolist() == [True] * int(living[at].sum()) + [False] * int((~living[at]).sum())
        assert torch.equal(after.slots[at], state.slots[at][order])
        assert torch.equal(after.usage[at], state.usage[at][order])
        assert torch.equal(after.read_weights[at], state.read_weights[at][:, order])
        assert torch.equal(after.write_weights[at], state.write_weights[at][:, order])
    again = dynamic.compact(after, threshold)
    assert all(torch.equal(one, two) for one, two in zip(again, after, strict=True))
    assert torch.equal(dynamic.utilisation(after, threshold), dynamic.utilisation(state, threshold))
    key, strength = torch.ones(2, 2, 1, 3), torch.full((2, 2, 1), 3.0)
    before = read(state.slots, content_weights(key, state.slots, strength))
    torch.testing.assert_close(read(after.slots, content_weights(key, after.slots, strength)), before)


def test_compaction_after_every_step_changes_no_output() -> None:
    xs = inputs(time=15, dtype=torch.float64)
    plain, states = unroll(made(0.2), xs)
    compacted, moved = unroll(made(0.2, compaction=True), xs)
    torch.testing.assert_close(compacted, plain, rtol=1e-4, atol=1e-5)
    assert any(not torch.equal(one.usage, two.usage) for one, two in zip(states, moved, strict=True))
    for state in moved:
        assert (dynamic.living(state, 0.2).int().diff(dim=-1) <= 0).all()


def test_utilisation_counts_slots_that_were_written_last_as_well() -> None:
    state = made(0.1).initial_state(3)
    assert not dynamic.utilisation(state, 0.1).any()
    assert not dynamic.utilisation(state, 0.0).any()
    state.write_weights[..., 1] = 0.9
    assert torch.equal(dynamic.utilisation(state, 0.1), torch.full((2, 3), 0.25, dtype=torch.float64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"num_slots": 0}, "num_slots: 0 is too small"), ({"threshold": 1.5}, "threshold: 1.5 is out of range")],
)
def test_bad_sizes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        DynamicMemory(**({"runs": 1, "d_in": 3, "num_slots": 2, "slot_dim": 2} | changes))
