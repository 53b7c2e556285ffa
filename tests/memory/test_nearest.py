"""The hand-written node of sparse addressing against its readable form, forwards and backwards."""

from __future__ import annotations

import pytest
import torch

from palimpsest.memory.fast.nearest import nearest_softmax
from palimpsest.memory.slot_bank import weighting

RUNS, BATCH, HEADS, TOKENS, SLOTS, DIM = 2, 3, 2, 4, 6, 5


def given(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys, strengths and slots; some slots and one key are zero or shorter than the floor of norms."""
    generator = torch.Generator().manual_seed(3)
    keys = torch.randn(RUNS, BATCH, HEADS, TOKENS, DIM, generator=generator, dtype=dtype)
    slots = torch.randn(RUNS, BATCH, HEADS, SLOTS, DIM, generator=generator, dtype=dtype)
    slots[:, 0, :, 2:] = 0
    slots[:, 1, :, 0] *= 1e-5
    keys[:, 2, 0, 0] = 0
    strength = 1 + 9 * torch.rand(RUNS, BATCH, HEADS, TOKENS, generator=generator, dtype=dtype)
    return keys.requires_grad_(), strength.requires_grad_(), slots.requires_grad_()


@pytest.mark.parametrize("k", [1, 3, SLOTS])
def test_values_and_gradients_are_those_of_the_readable_form(k: int) -> None:
    outcomes = []
    upstream = torch.randn(
        RUNS, BATCH, HEADS, TOKENS, SLOTS, generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )
    for form in (lambda *of: nearest_softmax(*of, k), lambda keys, beta, slots: weighting(keys, beta, None, slots, k)):
        inputs = given()
        weights = form(*inputs)
        weights.backward(upstream)
        outcomes.append([weights.detach(), *(x.grad for x in inputs)])
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_numbers_of_the_gradient_are_those_of_differences() -> None:
    keys, strength, slots = given()
    inputs = (keys[:1, 2:], strength[:1, 2:], slots[:1, 2:])
    keep = tuple(x.detach().clone().requires_grad_() for x in inputs)
    keep[0].data[0, 0, 0, 0] = 1  # at zero the norm has no derivative
    assert torch.autograd.gradcheck(lambda *of: nearest_softmax(*of, SLOTS), keep)


def test_a_run_alone_has_the_same_bits_as_in_a_pack() -> None:
    together = nearest_softmax(*given(torch.float32), 3)
    alone = nearest_softmax(*(x[1:] for x in given(torch.float32)), 3)
    assert torch.equal(together[1:], alone)
