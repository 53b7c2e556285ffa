"""Attention with distances against a version that goes over tokens one by one, and in parts against the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.layers.initialisation import reset_parameters
from palimpsest.layers.relative import RelativeAttention

RUNS, BATCH, TIME, WIDTH, HEADS = 2, 2, 7, 6, 2


def made(window: int) -> RelativeAttention:
    attention = RelativeAttention(RUNS, WIDTH, HEADS, window)
    reset_parameters(attention, [torch.Generator().manual_seed(seed) for seed in range(RUNS)])
    return attention.double()


def tokens(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(RUNS, BATCH, TIME, WIDTH, generator=generator, dtype=torch.float64)


def naive(attention: RelativeAttention, x: np.ndarray, run: int) -> np.ndarray:
    """One sequence, (time, width)."""
    parts = {name: value[run].detach().numpy() for name, value in attention.named_parameters()}
    dim, out = WIDTH // HEADS, np.zeros((len(x), WIDTH))
    query, key, value = np.split(x @ parts["project_in.weight"] + parts["project_in.bias"], 3, axis=-1)
    for h in range(HEADS):
        own = slice(h * dim, (h + 1) * dim)
        a, b = parts["distance_keys"][h], parts["distance_values"][h]
        for t in range(len(x)):
            seen = range(max(0, t - attention.window + 1), t + 1)
            scores = np.array([query[t, own] @ (key[s, own] + a[t - s]) / np.sqrt(dim) for s in seen])
            weights = np.exp(scores) / np.exp(scores).sum()
            out[t, own] = sum(w * (value[s, own] + b[t - s]) for w, s in zip(weights, seen, strict=True))
    return out @ parts["project_out.weight"] + parts["project_out.bias"]


@pytest.mark.parametrize("window", [1, 3, TIME, TIME + 2])
def test_every_token_attends_as_in_the_naive_version(window: int) -> None:
    attention, x = made(window), tokens()
    found = attention(x, TIME).detach().numpy()
    for run, example in np.ndindex(RUNS, BATCH):
        np.testing.assert_allclose(found[run, example], naive(attention, x[run, example].numpy(), run), atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, TIME), st.integers(1, TIME))
def test_the_last_tokens_alone_are_those_of_the_whole(time: int, window: int) -> None:
    attention, x = made(window), tokens()
    torch.testing.assert_close(attention(x, time), attention(x, TIME)[:, :, -time:])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, TIME), st.integers(0, TIME - 1))
def test_nothing_outside_the_window_matters(window: int, changed: int) -> None:
    attention, x, other = made(window), tokens(), tokens()
    other[:, :, changed] += 1
    same = (attention(x, TIME) == attention(other, TIME)).all(-1).all(0).all(0)
    expected = [not 0 <= t - changed < window for t in range(TIME)]
    assert same.tolist() == expected


def test_only_distances_count_and_not_places() -> None:
    attention, x = made(3), tokens()
    x[:, :, 4:7] = x[:, :, 1:4]
    found = attention(x, TIME)
    torch.testing.assert_close(found[:, :, 6], found[:, :, 3])
