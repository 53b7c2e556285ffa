"""Auxiliary losses of a slot bank against plain loops, and where they are smallest."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.memory import bank_losses

RUNS, SIZE, HEADS, TIME, SLOTS, DIM = 2, 3, 2, 4, 5, 3


def weighting(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(RUNS, SIZE, HEADS, TIME, SLOTS, generator=generator, dtype=torch.float64)).softmax(-1)


def one_slot() -> torch.Tensor:
    """Every read of every head takes slot 1."""
    weights = torch.zeros(RUNS, SIZE, HEADS, TIME, SLOTS)
    weights[..., 1] = 1
    return weights


def naive_entropy(shares: np.ndarray) -> float:
    return -sum(p * math.log(p + 1e-8) for p in shares.tolist())


@pytest.mark.parametrize("seed", range(3))
def test_every_loss_is_that_of_the_naive_version(seed: int) -> None:
    weights = weighting(seed)
    reads = torch.randn(RUNS, SIZE, TIME, HEADS, DIM, generator=torch.Generator().manual_seed(seed)).double()
    usage = torch.rand(RUNS, SIZE, TIME, HEADS, SLOTS, generator=torch.Generator().manual_seed(seed)).double()
    for run in range(RUNS):
        w, r = weights[run].numpy(), reads[run].numpy()
        means = [w[:, h].mean((0, 1)) for h in range(HEADS)]
        share = np.mean([naive_entropy(mean) for mean in means]) / math.log(SLOTS)
        cells = list(np.ndindex(SIZE, HEADS, TIME))
        cosines = []
        for b, t, g, h in np.ndindex(SIZE, TIME, HEADS, HEADS):
            if g != h:
                u, v = r[b, t, g], r[b, t, h]
                cosines.append((u @ v / np.linalg.norm(u) / np.linalg.norm(v)) ** 2)
        expected = {
            "printed": share,
            "maximised": 1 - share,
            "entropy": np.mean([naive_entropy(w[cell]) for cell in cells]),
            "sparsity": np.mean([1 - (w[cell] ** 2).sum() for cell in cells]),
            "diversity": np.mean(cosines),
            "pressure": usage[run].numpy().mean(),
        }
        found = {
            "printed": bank_losses.utilisation(weights, "printed"),
            "maximised": bank_losses.utilisation(weights, "maximised"),
            "entropy": bank_losses.read_entropy(weights),
            "sparsity": bank_losses.sparsity(weights),
            "diversity": bank_losses.diversity(reads),
            "pressure": bank_losses.pressure(usage),
        }
        for name, value in expected.items():
            assert found[name][run].item() == pytest.approx(value, rel=1e-6), name


def test_the_printed_sign_rewards_the_collapse_that_it_is_to_prevent() -> None:
    alike = torch.full_like(one_slot(), 1 / SLOTS)
    for sign, collapsed, spread in (("printed", 0.0, 1.0), ("maximised", 1.0, 0.0)):
        assert bank_losses.utilisation(one_slot(), sign).tolist() == pytest.approx([collapsed] * RUNS, abs=1e-6)
        assert bank_losses.utilisation(alike, sign).tolist() == pytest.approx([spread] * RUNS, abs=1e-6)


def test_reads_of_one_slot_cost_nothing_and_one_head_is_like_no_other() -> None:
    assert not bank_losses.read_entropy(one_slot()).any()
    assert not bank_losses.sparsity(one_slot()).any()
    assert not bank_losses.diversity(torch.ones(RUNS, SIZE, TIME, 1, DIM)).any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_losses_lie_in_their_ranges(seed: int) -> None:
    weights = weighting(seed)
    for value in (bank_losses.utilisation(weights), bank_losses.sparsity(weights)):
        assert ((value >= 0) & (value <= 1)).all()
    entropy = bank_losses.read_entropy(weights)
    assert ((entropy >= 0) & (entropy <= math.log(SLOTS))).all()


def test_vectors_of_length_zero_have_finite_gradients() -> None:
    reads = torch.zeros(RUNS, SIZE, TIME, HEADS, DIM, requires_grad=True)
    weights = one_slot().requires_grad_()
    (bank_losses.diversity(reads).sum() + bank_losses.read_entropy(weights).sum()).backward()
    for leaf in (reads, weights):
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()
