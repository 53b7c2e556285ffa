"""Least recently used access against the paper's equations, slot by slot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory import least_recently_used
from palimpsest.memory.least_recently_used import LeastRecentlyUsedAccess
from tests.memory.cells import D_IN, inputs, numpy_parameters, unroll

SLOTS, DIM = 4, 3


def made(heads: int, decay: float = 0.9) -> LeastRecentlyUsedAccess:
    cell = LeastRecentlyUsedAccess(2, D_IN, SLOTS, DIM, heads, decay=decay)
    reset_parameters(cell, [torch.Generator().manual_seed(seed) for seed in range(2)])
    return cell.double()


def naive(parameters: dict[str, Any], xs: np.ndarray, heads: int, decay: float) -> tuple[np.ndarray, ...]:
    """One example    [Santoro et al. 2016, eqs. 2 to 8]: the outputs; memory, w^u as in the paper, at the end."""
    memory, usage = np.zeros((SLOTS, DIM)), np.zeros(SLOTS)
    reads, outputs = np.zeros((heads, SLOTS)), []
    for x in xs:
        projected = x @ parameters["project.weight"] + parameters["project.bias"]
        keys, alphas, strengths = np.split(projected, np.cumsum([heads * DIM, heads]))
        keys, gates = keys.reshape(heads, DIM), 1 / (1 + np.exp(-alphas))
        least = np.argsort(usage, kind="stable")[:heads]
        writes = np.array(
            [[gates[h] * reads[h, i] + (1 - gates[h]) * (i == least[h]) for i in range(SLOTS)] for h in range(heads)]
        )
        memory[least] = 0
        for i, h in np.ndindex(SLOTS, heads):
            memory[i] = memory[i] + writes[h, i] * keys[h]
        for h, key in enumerate(keys):
            alike = [slot @ key / max(np.linalg.norm(slot), 1e-3) / np.linalg.norm(key) for slot in memory]
            scores = np.exp((1 + np.log1p(np.exp(strengths[h]))) * np.array(alike))
            reads[h] = scores / scores.sum()
        usage = decay * usage + reads.sum(0) + writes.sum(0)
        outputs.append((reads @ memory).ravel())
    return np.array(outputs), memory, usage


@pytest.mark.parametrize("heads", [1, 2])
def test_every_step_is_that_of_the_paper(heads: int) -> None:
    cell = made(heads)
    xs = inputs(time=12, dtype=torch.float64)
    outputs, states = unroll(cell, xs)
    for run, example in np.ndindex(2, 3):
        expected, memory, usage = naive(numpy_parameters(cell, run), xs[run, example].numpy(), heads, 0.9)
        np.testing.assert_allclose(outputs[run, example].detach().numpy(), expected, atol=1e-9)
        np.testing.assert_allclose(states[-1].slots[run, example].detach().numpy(), memory, atol=1e-9)
        np.testing.assert_allclose(
            states[-1].usage[run, example].detach().numpy(), usage * (1 - 0.9) / (2 * heads), atol=1e-9
        )


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=3, max_size=6), st.integers(1, 3))
def test_the_least_used_slots_are_as_many_as_heads_and_none_is_used_less(usage: list[float], heads: int) -> None:
    marks = least_recently_used.least_used(torch.tensor([[usage]]), heads)
    expected = sorted(range(len(usage)), key=lambda i: (usage[i], i))[:heads]
    assert marks[0, 0].argmax(-1).tolist() == expected
    assert torch.equal(marks.sum(-1), torch.ones(1, 1, heads))


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.999), st.integers(1, 3))
def test_usage_stays_between_zero_and_one(seed: int, decay: float, heads: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    usage = torch.rand(1, 1, 4, generator=generator)
    for _ in range(20):
        reads, writes = torch.randn(2, 1, 1, heads, 4, generator=generator).mul(5).softmax(-1)
        usage = least_recently_used.next_usage(usage, reads, writes, decay)
        assert ((usage >= 0) & (usage <= 1 + 1e-6)).all()


def test_slots_are_filled_one_after_the_other_while_gates_point_to_the_unused() -> None:
    cell = LeastRecentlyUsedAccess(1, DIM, SLOTS, DIM)
    with torch.no_grad():
        cell.project.weight.zero_()
        cell.project.weight[0, :, :DIM] = torch.eye(DIM)
        cell.project.bias.copy_(torch.tensor([[0.0, 0.0, 0.0, -50.0, 20.0]]))
    vectors = torch.nn.functional.normalize(torch.randn(1, 1, 4, DIM, generator=torch.Generator()), dim=-1)
    outputs, states = unroll(cell, vectors)
    torch.testing.assert_close(states[-1].slots, vectors)
    torch.testing.assert_close(outputs, vectors, atol=0.1, rtol=0)
    again, _ = cell.step(vectors[:, :, 2], states[-1]._replace(usage=torch.tensor([[[0.0, 1.0, 1.0, 1.0]]])))
    torch.testing.assert_close(again, vectors[:, :, 2], atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_read_heads": 3}, "num_read_heads: 3 is out of range; allowed: 1 to 2"),
        ({"num_read_heads": 0}, "num_read_heads: 0 is out of range"),
        ({"decay": 1.0}, "decay: 1.0 is out of range"),
        ({"decay": -0.1}, "decay: -0.1 is out of range"),
        ({"slot_dim": 0}, "slot_dim: 0 is too small"),
    ],
)
def test_bad_sizes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        LeastRecentlyUsedAccess(**({"runs": 1, "d_in": 3, "num_slots": 2, "slot_dim": 2} | changes))
