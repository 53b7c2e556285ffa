"""Reads against NumPy, on empty memories, ties and zero vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.reading import AttentionRead, SigmoidRead, cosine_similarity, dot_product_read, topk_cosine_read

GENERATOR = torch.Generator().manual_seed(3)
QUERY, SLOTS = torch.randn(2, 3, 4, 5, generator=GENERATOR), torch.randn(2, 3, 6, 5, generator=GENERATOR)
WEIGHT = torch.tensor([1.0, 0, 1, 1, 1, 0]).expand(2, 3, 6)


@pytest.mark.parametrize("top_k", [1, 2, 4, 9])
def test_topk_cosine_read_equals_numpy(top_k: int) -> None:
    read = topk_cosine_read(QUERY, SLOTS, WEIGHT, top_k)
    for r, b, q in np.ndindex(2, 3, 4):
        alive = np.flatnonzero(WEIGHT[r, b].numpy())
        keys, query = SLOTS[r, b].numpy()[alive], QUERY[r, b, q].numpy()
        similarity = keys @ query / np.linalg.norm(keys, axis=1) / np.linalg.norm(query)
        best = np.argsort(-similarity)[:top_k]
        attention = np.exp(similarity[best]) / np.exp(similarity[best]).sum()
        np.testing.assert_allclose(read.vector[r, b, q].numpy(), attention @ keys[best], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(read.weights[r, b, q].numpy()[alive[best]], attention, rtol=1e-4)


def test_topk_read_of_an_empty_memory_is_zero_and_has_a_finite_gradient() -> None:
    slots = torch.zeros(1, 1, 4, 5, requires_grad=True)
    query = torch.randn(1, 1, 2, 5, generator=GENERATOR).requires_grad_()
    read = topk_cosine_read(query, slots, torch.zeros(1, 1, 4), 2)
    read.vector.sum().backward()
    assert torch.equal(read.vector, torch.zeros(1, 1, 2, 5))
    assert torch.isfinite(slots.grad).all()
    assert torch.isfinite(query.grad).all()


def test_cosine_of_a_zero_vector_is_zero() -> None:
    assert torch.equal(cosine_similarity(QUERY, torch.zeros_like(SLOTS)), torch.zeros(2, 3, 4, 6))


def test_sigmoid_read_equals_numpy_and_ignores_dead_slots() -> None:
    reader = SigmoidRead(2, 5)
    reader.query.reset_parameters([GENERATOR] * 2)
    reader.key.reset_parameters([GENERATOR] * 2)
    reader.value.reset_parameters([GENERATOR] * 2)
    reader.reset_parameters([GENERATOR] * 2)
    read = reader(QUERY, SLOTS, WEIGHT)
    for r, b, q in np.ndindex(2, 3, 4):

        def linear(layer: torch.nn.Module, x: np.ndarray, run: int = r) -> np.ndarray:
            return x @ layer.weight[run].detach().numpy() + layer.bias[run].detach().numpy()

        key, value = linear(reader.key, SLOTS[r, b].numpy()), linear(reader.value, SLOTS[r, b].numpy())
        score = key @ linear(reader.query, QUERY[r, b, q].numpy()) / np.sqrt(5) - 2.0
        expected = (WEIGHT[r, b].numpy() / (1 + np.exp(-score))) @ value
        np.testing.assert_allclose(read.vector[r, b, q].detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    tampered = SLOTS.clone()
    tampered[:, :, [1, 5]] = 100.0
    assert torch.equal(reader(QUERY, tampered, WEIGHT).vector, read.vector)


def test_what_a_sigmoid_read_addresses_is_what_it_reads() -> None:
    reader = SigmoidRead(2, 5)
    reset_parameters(reader, [torch.Generator().manual_seed(run) for run in range(2)])
    weights = reader.address(reader.query(QUERY), SLOTS, WEIGHT)
    assert torch.equal(weights, reader(QUERY, SLOTS, WEIGHT).weights)
    assert not weights[..., [1, 5]].any()


def test_dot_product_read_equals_numpy_and_ignores_dead_slots() -> None:
    read = dot_product_read(QUERY, SLOTS, WEIGHT)
    for r, b, q in np.ndindex(2, 3, 4):
        alive = np.flatnonzero(WEIGHT[r, b].numpy())
        keys = SLOTS[r, b].numpy()[alive]
        attention = np.exp(keys @ QUERY[r, b, q].numpy())
        attention /= attention.sum()
        np.testing.assert_allclose(read.weights[r, b, q].numpy()[alive], attention, rtol=1e-4)
        np.testing.assert_allclose(read.vector[r, b, q].numpy(), attention @ keys, rtol=1e-4, atol=1e-5)
    tampered = SLOTS.clone()
    tampered[:, :, [1, 5]] = 1e6
    assert torch.equal(dot_product_read(QUERY, tampered, WEIGHT).vector, read.vector)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_dot_product_read_of_an_empty_memory_is_zero_and_of_a_full_one_finite(scale: float) -> None:
    slots = (scale * SLOTS).requires_grad_()
    query = QUERY.clone().requires_grad_()
    empty = dot_product_read(query, slots, torch.zeros(2, 3, 6))
    assert not empty.vector.any()
    assert not empty.weights.any()
    (empty.vector.sum() + dot_product_read(query, slots, torch.ones(2, 3, 6)).vector.sum()).backward()
    assert torch.isfinite(slots.grad).all()
    assert torch.isfinite(query.grad).all()


AGE = torch.tensor([3.0, 0, 0, 1, 7, 0]).expand(2, 3, 6)


def attention_read(**options: float) -> AttentionRead:
    """A reader of two runs with its weights drawn."""
    reader = AttentionRead(2, 5, **options)
    reset_parameters(reader, [torch.Generator().manual_seed(run) for run in range(2)])
    return reader


@pytest.mark.parametrize(("bias", "decay"), [(-2.0, 1.0), (1.5, 0.0), (0.0, -0.25)])
def test_attention_read_equals_numpy(bias: float, decay: float) -> None:
    reader = attention_read(bias=bias, decay=decay)
    read = reader(QUERY, SLOTS, WEIGHT, AGE)
    for r, b, q in np.ndindex(2, 3, 4):

        def linear(layer: torch.nn.Module, x: np.ndarray, run: int = r) -> np.ndarray:
            return x @ layer.weight[run].detach().numpy() + layer.bias[run].detach().numpy()

        key, value = linear(reader.key, SLOTS[r, b].numpy()), linear(reader.value, SLOTS[r, b].numpy())
        score = key @ linear(reader.query, QUERY[r, b, q].numpy()) / np.sqrt(5) - decay * AGE[r, b].numpy() + bias
        strength = WEIGHT[r, b].numpy() * np.exp(score)
        expected = strength / (1 + strength.sum())
        np.testing.assert_allclose(read.weights[r, b, q].detach().numpy(), expected, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(read.vector[r, b, q].detach().numpy(), expected @ value, rtol=1e-4, atol=1e-5)


def test_attention_to_an_empty_memory_reads_zero() -> None:
    read = attention_read()(QUERY, SLOTS, torch.zeros(2, 3, 6), AGE)
    assert not read.vector.any()
    assert not read.weights.any()


def test_attention_ignores_what_dead_slots_hold() -> None:
    reader = attention_read()
    tampered, older = SLOTS.clone(), AGE.clone()
    tampered[:, :, [1, 5]], older[:, :, [1, 5]] = 3.0, 9.0
    found = reader(QUERY, tampered, WEIGHT, older)
    torch.testing.assert_close(found.vector, reader(QUERY, SLOTS, WEIGHT, AGE).vector)
    assert not found.weights[..., [1, 5]].any()


def test_the_younger_of_two_equal_slots_is_read_more() -> None:
    slots = SLOTS[:, :, :1].expand(2, 3, 2, 5)
    ages = torch.tensor([2.0, 1.0]).expand(2, 3, 2)
    weights = attention_read()(QUERY, slots, torch.ones(2, 3, 2), ages).weights
    torch.testing.assert_close(weights[..., 1] / weights[..., 0], torch.full((2, 3, 4), float(np.e)))


@given(st.integers(1, 5), st.floats(-6, 6), st.floats(0, 2), st.floats(0, 3), st.integers(0, 99))
def test_the_weights_of_attention_sum_to_less_than_one(
    num_slots: int, bias: float, decay: float, scale: float, seed: int
) -> None:
    reader = attention_read(bias=bias, decay=decay)
    generator = torch.Generator().manual_seed(seed)
    slots = scale * torch.randn(2, 3, num_slots, 5, generator=generator)
    weight = (torch.rand(2, 3, num_slots, generator=generator) > 0.3).float()
    age = torch.randint(0, 9, (2, 3, num_slots), generator=generator).float()
    weights = reader(QUERY, slots, weight, age).weights
    assert (weights >= 0).all()
    assert (weights.sum(-1) < 1).all()


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e8])
def test_attention_does_not_overflow_at_large_scores(scale: float) -> None:
    reader = attention_read()
    query, slots = QUERY.clone().requires_grad_(), (scale * SLOTS).requires_grad_()
    read = reader(query, slots, torch.ones(2, 3, 6), AGE)
    assert torch.isfinite(read.vector).all()
    assert (read.weights.sum(-1) <= 1 + 1e-5).all()
    read.weights.square().sum().backward()
    for tensor in (query, slots, *reader.parameters()):
        assert tensor.grad is None or torch.isfinite(tensor.grad).all()


def test_a_slot_of_weight_zero_is_not_read_but_its_gradient_shows_what_reading_it_would_have_been_worth() -> None:
    reader = attention_read()
    weight = WEIGHT.clone().requires_grad_()
    read = reader(QUERY, SLOTS, weight, AGE)
    assert not read.weights[..., [1, 5]].any()
    read.vector.sum().backward()
    assert torch.isfinite(weight.grad).all()
    assert (weight.grad != 0).all()
    step = 1e-3
    for slot in (1, 5):  # a small weight changes the output as the gradient at 0 predicts
        more = WEIGHT.clone()
        more[0, 0, slot] = step
        gain = (reader(QUERY, SLOTS, more, AGE).vector.sum() - read.vector.sum()) / step
        assert gain.item() == pytest.approx(weight.grad[0, 0, slot].item(), rel=0.05, abs=2e-3)


def test_a_reader_that_sees_one_run_reads_the_same_bits() -> None:
    reader, alone = attention_read(), AttentionRead(1, 5)
    found = reader(QUERY, SLOTS, WEIGHT, AGE)
    for run in range(2):
        alone.load_state_dict({name: part[run : run + 1] for name, part in reader.state_dict().items()})
        part = alone(*(part_of[run : run + 1] for part_of in (QUERY, SLOTS, WEIGHT, AGE)))
        assert torch.equal(part.vector[0], found.vector[run])
        assert torch.equal(part.weights[0], found.weights[run])


@pytest.mark.parametrize("content", [1e2, 1e6])
def test_a_dead_slot_of_any_content_leaves_what_is_read_alone_and_its_gradient_finite(content: float) -> None:
    reader = attention_read()
    tampered = SLOTS.clone()
    tampered[:, :, [1, 5]] = content
    tampered.requires_grad_()
    weight = WEIGHT.clone().requires_grad_()
    found = reader(QUERY, tampered, weight, AGE)
    torch.testing.assert_close(found.vector, reader(QUERY, SLOTS, WEIGHT, AGE).vector, rtol=1e-4, atol=1e-4)
    assert not reader(QUERY, tampered, torch.zeros_like(WEIGHT), AGE).vector.any()
    found.weights.sum().backward()
    assert torch.isfinite(weight.grad).all()
    assert torch.isfinite(tampered.grad).all()
