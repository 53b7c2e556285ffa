"""Gated memory against its equations, slot by slot; an open gate replaces, a closed one keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.memory.gated import GatedMemory
from tests.memory.cells import D_IN, HEADS, NUM_SLOTS, SLOT_DIM, drawn, inputs, numpy_parameters, unroll


def naive(parameters: dict[str, Any], xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One example: the outputs of all steps, and the memory at the end."""
    memory, outputs = np.zeros((NUM_SLOTS, SLOT_DIM)), []
    for x in xs:
        projected = x @ parameters["project.weight"] + parameters["project.bias"]
        query, value, keys, strengths = np.split(projected, np.cumsum([SLOT_DIM, SLOT_DIM, HEADS * SLOT_DIM]))
        for i in range(NUM_SLOTS):
            score = query @ (memory[i] + parameters["keys"][i]) / np.sqrt(SLOT_DIM) + parameters["bias"][0]
            z = 1 / (1 + np.exp(-score))
            memory[i] = (1 - z) * memory[i] + z * np.tanh(value)
        heads = []
        for h, key in enumerate(keys.reshape(HEADS, SLOT_DIM)):
            alike = [slot @ key / max(np.linalg.norm(slot), 1e-3) / np.linalg.norm(key) for slot in memory]
            scores = np.exp((1 + np.log1p(np.exp(strengths[h]))) * np.array(alike))
            heads.append(scores / scores.sum() @ memory)
        outputs.append(np.concatenate(heads))
    return np.array(outputs), memory


def test_every_step_is_that_of_the_equations() -> None:
    cell = drawn("gated", dtype=torch.float64)
    xs = inputs(time=10, dtype=torch.float64)
    outputs, states = unroll(cell, xs)
    for run, example in np.ndindex(2, 3):
        expected, memory = naive(numpy_parameters(cell, run), xs[run, example].numpy())
        np.testing.assert_allclose(outputs[run, example].detach().numpy(), expected, atol=1e-9)
        np.testing.assert_allclose(states[-1].slots[run, example].detach().numpy(), memory, atol=1e-9)


@settings(max_examples=15)
@given(st.integers(0, 1000), st.sampled_from([0.1, 3.0, 100.0]))
def test_slots_stay_between_minus_one_and_one(seed: int, scale: float) -> None:
    for state in unroll(drawn("gated"), inputs(seed=seed, scale=scale))[1]:
        assert (state.slots.abs() <= 1).all()
        assert ((state.gate >= 0) & (state.gate <= 1)).all()


@pytest.mark.parametrize("gate", [-60.0, 60.0])
def test_a_closed_gate_keeps_and_an_open_one_replaces(gate: float) -> None:
    cell = drawn("gated")
    state = unroll(cell, inputs())[1][-1]
    with torch.no_grad():
        cell.bias.fill_(gate)
    x = inputs(seed=1)[:, :, 0]
    _, after = cell.step(x, state)
    offered = cell.project(x)[..., SLOT_DIM : 2 * SLOT_DIM].tanh()[:, :, None].expand_as(state.slots)
    torch.testing.assert_close(after.slots, state.slots if gate < 0 else offered)


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ParameterError, match="num_read_heads: 0 is too small"):
        GatedMemory(1, D_IN, 2, 2, 0)
