"""Hopfield retrieval, new and old: equations, energy, limits, capacity, and the cell that stores as it goes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from palimpsest.foundation.errors import ParameterError
from palimpsest.memory import associative
from palimpsest.memory.associative import AssociativeMemory, energy, recall_signs, retrieve, store_outer_products
from tests.memory.cells import D_IN, HEADS, NUM_SLOTS, SLOT_DIM, drawn, inputs, numpy_parameters, unroll


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A query, patterns, β and log a; patterns of any length, some hardly stored."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.1, 1.0, 5.0]))
    query = scale * torch.randn(1, 2, 2, 4, generator=generator, dtype=torch.float64)
    patterns = scale * torch.randn(1, 2, 6, 4, generator=generator, dtype=torch.float64)
    strength = torch.full((1, 2, 2), draw(st.sampled_from([0.05, 1.0, 8.0])), dtype=torch.float64)
    log_weight = -3 * torch.rand(1, 2, 6, generator=generator, dtype=torch.float64)
    return query, patterns, strength, log_weight


@settings(max_examples=40)
@given(problems(), st.integers(1, 3))
def test_retrieval_is_its_equation(problem: tuple[Tensor, Tensor, Tensor, Tensor], num_updates: int) -> None:
    query, patterns, strength, log_weight = problem
    outputs, weights = retrieve(query, patterns, strength, num_updates, log_weight)
    for example, head in np.ndindex(2, 2):
        X, a = patterns[0, example].numpy(), log_weight[0, example].exp().numpy()
        xi, beta = query[0, example, head].numpy(), float(strength[0, example, head])
        for _ in range(num_updates):
            scores = beta * np.array([x @ xi for x in X])
            p = a * np.exp(scores - scores.max())
            p /= p.sum()
            xi = sum(share * x for share, x in zip(p, X, strict=True))
        np.testing.assert_allclose(outputs[0, example, head].numpy(), xi, atol=1e-9)
        np.testing.assert_allclose(weights[0, example, head].numpy(), p, atol=1e-9)


@settings(max_examples=40)
@given(problems())
def test_no_update_raises_the_energy(problem: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    query, patterns, strength, log_weight = problem
    now = energy(query, patterns, strength, log_weight)
    for _ in range(6):
        query, _ = retrieve(query, patterns, strength, 1, log_weight)
        after = energy(query, patterns, strength, log_weight)
        assert (after <= now + 1e-9 * (1 + now.abs())).all()
        now = after


@given(problems())
def test_a_fixed_point_of_the_update_is_where_the_energy_has_no_slope(
    problem: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    query, patterns, strength, log_weight = problem
    query = query.requires_grad_()
    (slope,) = torch.autograd.grad(energy(query, patterns, strength, log_weight).sum(), query)
    moved, _ = retrieve(query, patterns, strength, 1, log_weight)
    torch.testing.assert_close(slope, query - moved)  # the update is one step of steepest descent, of length 1


def test_one_update_with_the_usual_strength_is_attention() -> None:
    query, patterns = torch.randn(1, 1, 3, 4), torch.randn(1, 1, 6, 4)
    outputs, _ = retrieve(query, patterns, torch.full((1, 1, 3), 1 / math.sqrt(4)))
    torch.testing.assert_close(outputs, F.scaled_dot_product_attention(query, patterns, patterns))


@given(st.integers(0, 2**32 - 1))
def test_in_the_limit_of_large_strength_the_nearest_pattern_is_returned(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    patterns = F.normalize(torch.randn(1, 1, 5, 8, generator=generator, dtype=torch.float64), dim=-1)
    query = torch.randn(1, 1, 1, 8, generator=generator, dtype=torch.float64)
    distance = (patterns[0, 0] - query[0, 0]).norm(dim=-1)
    outputs, weights = retrieve(query, patterns, torch.full((1, 1, 1), 1e8, dtype=torch.float64))
    torch.testing.assert_close(outputs[0, 0, 0], patterns[0, 0, distance.argmin()], atol=1e-4, rtol=0)
    assert weights.argmax() == distance.argmin()


def test_patterns_are_completed_from_a_half_of_them() -> None:
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(2, (1, 1, 20, 64), generator=generator).float() * 2 - 1
    query = patterns.clone()
    query[..., 32:] = 0
    outputs, _ = retrieve(query, patterns, torch.ones(1, 1, 20), 2)
    torch.testing.assert_close(outputs, patterns, atol=1e-3, rtol=0)


def test_an_empty_memory_returns_zero_and_a_single_pattern_is_returned_for_any_query() -> None:
    free = torch.full((1, 1, 3), associative.free(torch.zeros(1)))
    query, strength = torch.randn(1, 1, 2, 4), torch.ones(1, 1, 2)
    outputs, _ = retrieve(query, torch.zeros(1, 1, 3, 4), strength, 2, free)
    assert not outputs.any()
    pattern = -100 * torch.ones(4)  # so unlike the query that a free slot would win if it could
    slots = torch.stack([torch.zeros(4), pattern, torch.zeros(4)])[None, None]
    one = free.clone()
    one[..., 1] = -20.0
    outputs, _ = retrieve(query.abs(), slots, strength, 2, one)
    torch.testing.assert_close(outputs, pattern.expand(1, 1, 2, 4))


def signs(patterns: int, units: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, (patterns, units), generator=generator).double() * 2 - 1


def test_outer_products_are_their_sums() -> None:
    patterns = signs(3, 7, 0)
    expected = np.zeros((7, 7))
    for i, j in np.ndindex(7, 7):
        if i != j:
            expected[i, j] = sum(float(x[i] * x[j]) for x in patterns) / 7
    np.testing.assert_allclose(store_outer_products(patterns).numpy(), expected, atol=1e-12)


def test_a_classical_network_repairs_patterns_below_its_capacity_and_loses_them_above() -> None:
    units = 400
    overlaps = {}
    for count in (20, 200):  # loads of .05 and .5, on both sides of .138
        patterns = signs(count, units, count)
        spoilt = patterns.clone()
        for row, at in enumerate(torch.rand(count, units, generator=torch.Generator().manual_seed(1)).argsort(-1)):
            spoilt[row, at[: units // 10]] *= -1
        outputs = recall_signs(store_outer_products(patterns), spoilt, 10)
        assert set(outputs.unique().tolist()) == {-1.0, 1.0}
        overlaps[count] = (outputs * patterns).mean().item()
    assert overlaps[20] > 0.999
    assert overlaps[200] < 0.7


def test_modern_retrieval_recalls_patterns_that_the_classical_network_loses() -> None:
    patterns = signs(200, 400, 200)[None, None]
    spoilt = patterns.clone()
    spoilt[..., :40] *= -1
    outputs, _ = retrieve(spoilt, patterns, torch.ones(1, 1, 200, dtype=torch.float64), 2)
    torch.testing.assert_close(outputs, patterns, atol=1e-6, rtol=0)


def test_a_unit_without_input_stays_as_it_is() -> None:
    state = torch.tensor([[1.0, -1.0]])
    assert torch.equal(recall_signs(torch.zeros(2, 2), state, 3), state)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def naive(parameters: dict[str, Any], xs: np.ndarray) -> np.ndarray:
    """One example of the cell, with three updates: the outputs."""
    stored: list[list[Any]] = [[0.0, np.zeros(SLOT_DIM)] for _ in range(NUM_SLOTS)]
    outputs = []
    for x in xs:
        projected = x @ parameters["project.weight"] + parameters["project.bias"]
        queries, pattern, strengths, gate = np.split(projected, np.cumsum([HEADS * SLOT_DIM, SLOT_DIM, HEADS]))
        weakest = min(range(NUM_SLOTS), key=lambda i: (stored[i][0], i))
        stored[weakest] = [float(sigmoid(gate)[0]), pattern]
        heads = []
        for query, z in zip(queries.reshape(HEADS, SLOT_DIM), strengths, strict=True):
            beta, xi = np.log1p(np.exp(z + np.log(np.e - 1))), query
            for _ in range(3):
                p = np.array([a * np.exp(beta * v @ xi) for a, v in stored])
                xi = sum(share * v for share, (_, v) in zip(p / p.sum(), stored, strict=True))
            heads.append(xi)
        outputs.append(np.concatenate(heads))
    return np.array(outputs)


def test_every_step_of_the_cell_is_that_of_the_equations() -> None:
    cell = drawn("associative", dtype=torch.float64)
    xs = inputs(time=12, dtype=torch.float64)
    outputs, _ = unroll(cell, xs)
    for run, example in np.ndindex(2, 3):
        expected = naive(numpy_parameters(cell, run), xs[run, example].numpy())
        np.testing.assert_allclose(outputs[run, example].detach().numpy(), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_updates": 0}, "num_updates: 0 is too small"),
        ({"strength": 0.0}, "strength: 0.0 is out of range; allowed: a positive finite number"),
        ({"strength": math.inf}, "strength: inf is out of range"),
        ({"num_read_heads": 0}, "num_read_heads: 0 is too small"),
    ],
)
def test_bad_sizes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        AssociativeMemory(1, D_IN, 2, 2, **changes)


def test_retrieval_without_an_update_is_refused() -> None:
    with pytest.raises(ParameterError, match="num_updates: 0 is too small"):
        retrieve(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1), 0)
    with pytest.raises(ParameterError, match="num_updates: 0 is too small"):
        recall_signs(torch.zeros(2, 2), torch.ones(1, 2), 0)
