"""Hierarchical memory against levels that are kept as lists, each summing up the one below."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from palimpsest.foundation.errors import ParameterError
from palimpsest.memory.hierarchical import GATE_FLOOR, HierarchicalMemory
from tests.memory.cells import D_IN, HEADS, SLOT_DIM, drawn, inputs, numpy_parameters, unroll

LEVELS, PERIOD = (4, 3, 2), 2


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def naive(parameters: dict[str, Any], xs: np.ndarray) -> tuple[np.ndarray, list[list[np.ndarray]]]:
    """One example: the outputs, and every entry that was ever written to each level."""
    entries: list[list[tuple[float, np.ndarray]]] = [[] for _ in LEVELS]
    outputs = []
    for x in xs:
        projected = x @ parameters["project.weight"] + parameters["project.bias"]
        sizes = [SLOT_DIM, 1, HEADS * SLOT_DIM, HEADS]
        value, gate, keys, strengths, preference = np.split(projected, np.cumsum(sizes))
        entries[0].append((GATE_FLOOR + (1 - GATE_FLOOR) / (1 + np.exp(-float(gate[0]))), value))
        for level in range(1, len(LEVELS)):
            below, own = entries[level - 1], entries[level]
            if len(below) == PERIOD * (len(own) + 1):
                latest = below[-PERIOD:]
                mass = sum(g for g, _ in latest)
                own.append((mass, sum(g * s for g, s in latest) / mass))
        heads = []
        for h in range(HEADS):
            key = keys[h * SLOT_DIM : (h + 1) * SLOT_DIM]
            beta = 1 + np.log1p(np.exp(strengths[h]))
            there = [level for level in range(len(LEVELS)) if entries[level]]
            shares = softmax(preference.reshape(HEADS, -1)[h, there])
            reading = np.zeros(SLOT_DIM)
            for share, level in zip(shares, there, strict=True):
                held = [s for _, s in entries[level][-LEVELS[level] :]]
                alike = [s @ key / max(np.linalg.norm(s), 1e-3) / np.linalg.norm(key) for s in held]
                weights = softmax(beta * np.array(alike))
                reading += share * sum(w * s for w, s in zip(weights, held, strict=True))
            heads.append(reading)
        outputs.append(np.concatenate(heads))
    return np.array(outputs), [[s for _, s in of_level] for of_level in entries]


def test_every_step_is_that_of_the_equations() -> None:
    cell = drawn("hierarchical", dtype=torch.float64)
    xs = inputs(time=21, dtype=torch.float64)
    outputs, states = unroll(cell, xs)
    for run, example in np.ndindex(2, 3):
        expected, entries = naive(numpy_parameters(cell, run), xs[run, example].numpy())
        np.testing.assert_allclose(outputs[run, example].detach().numpy(), expected, atol=1e-9)
        levels = states[-1].slots[run, example].detach().split(LEVELS)
        for held, written in zip(levels, entries, strict=True):
            for number in range(max(0, len(written) - len(held)), len(written)):
                np.testing.assert_allclose(held[number % len(held)].numpy(), written[number], atol=1e-9)


def test_a_level_is_written_when_its_turn_comes_and_in_turn() -> None:
    _, states = unroll(drawn("hierarchical"), inputs(time=16))
    first = (0, 4, 7)
    for step, state in enumerate(states, 1):
        for level, size in enumerate(LEVELS):
            weights = state.write_weights[0, 0, level]
            expected = torch.zeros(9)
            if step % PERIOD**level == 0:
                expected[first[level] + (step // PERIOD**level - 1) % size] = 1
            assert torch.equal(weights, expected)


def test_reads_share_their_weight_over_levels_that_hold_something() -> None:
    for step, state in enumerate(unroll(drawn("hierarchical"), inputs(time=5))[1], 1):
        torch.testing.assert_close(state.read_weights.sum(-1), torch.ones(2, 3, HEADS))
        for part, level in zip(state.read_weights.split(LEVELS, -1), range(3), strict=True):
            assert not part[..., step // PERIOD**level :].any()


def test_a_slow_level_remembers_longer_than_a_fast_one() -> None:
    cell = drawn("hierarchical")
    xs = inputs(time=9)
    other = xs.clone()
    other[:, :, 1] += 1
    states, others = unroll(cell, xs)[1], unroll(cell, other)[1]
    changed = (states[-1].slots != others[-1].slots).any(-1)[0, 0]
    assert changed.split(LEVELS)[0].sum() == 0
    assert changed.split(LEVELS)[1].sum() == 0
    assert changed.split(LEVELS)[2].sum() == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level_slots": ()}, "levels: 0 is too small"),
        ({"level_slots": (3, 0)}, r"level_slots\[1\]: 0 is too small"),
        ({"period": 0}, "period: 0 is too small"),
    ],
)
def test_bad_sizes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        HierarchicalMemory(**({"runs": 1, "d_in": D_IN, "level_slots": (2, 2), "slot_dim": 2} | changes))


def test_one_level_is_a_memory_that_is_written_in_turn() -> None:
    cell = HierarchicalMemory(1, D_IN, (3,), 2, period=1)
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    xs = inputs(runs=1, batch=1, time=7)
    _, states = unroll(cell, xs)
    values = cell.project(xs)[..., :2]
    torch.testing.assert_close(states[-1].slots, values[:, :, [6, 4, 5]])
