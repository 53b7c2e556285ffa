"""Reads against NumPy, on empty memories, ties and zero vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palimpsest.memory.reading import SigmoidRead, cosine_similarity, topk_cosine_read

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
