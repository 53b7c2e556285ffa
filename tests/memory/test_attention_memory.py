"""Attention memory against windowed causal attention, and against a list that gives up what was written least."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.transformer import causal_window
from palimpsest.memory.attention_memory import AttentionMemory
from tests.memory.cells import D_IN, HEADS, NUM_SLOTS, SLOT_DIM, drawn, inputs, numpy_parameters, unroll


def test_circular_placement_is_causal_attention_over_a_window() -> None:
    cell = drawn("attention_circular", dtype=torch.float64)
    xs = inputs(time=13, dtype=torch.float64)
    outputs, _ = unroll(cell, xs)
    for run in range(2):
        projected = xs[run] @ cell.project.weight[run] + cell.project.bias[run]
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in projected.split(SLOT_DIM, -1))
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=causal_window(13, NUM_SLOTS))
        torch.testing.assert_close(outputs[run], expected.transpose(1, 2).flatten(2))


def naive(parameters: dict[str, Any], xs: np.ndarray) -> np.ndarray:
    """One example with first-free placement: the outputs."""
    stored: list[tuple[float, np.ndarray, np.ndarray]] = [(0.0, np.zeros(SLOT_DIM), np.zeros(SLOT_DIM))] * NUM_SLOTS
    outputs, dim = [], SLOT_DIM // HEADS
    for x in xs:
        projected = x @ parameters["project.weight"] + parameters["project.bias"]
        query, key, value, gate = np.split(projected, np.cumsum([SLOT_DIM] * 3))
        weakest = min(range(NUM_SLOTS), key=lambda i: (stored[i][0], i))
        stored[weakest] = (float(1 / (1 + np.exp(-gate[0]))), key, value)
        heads = []
        for h in range(HEADS):
            part = slice(h * dim, (h + 1) * dim)
            p = np.array([a * np.exp(query[part] @ k[part] / np.sqrt(dim)) for a, k, _ in stored])
            heads.append(sum(share * v[part] for share, (_, _, v) in zip(p / p.sum(), stored, strict=True)))
        outputs.append(np.concatenate(heads))
    return np.array(outputs)


def test_first_free_placement_is_that_of_the_equations() -> None:
    cell = drawn("attention_first_free", dtype=torch.float64)
    xs = inputs(time=13, dtype=torch.float64)
    outputs, states = unroll(cell, xs)
    for run, example in np.ndindex(2, 3):
        expected = naive(numpy_parameters(cell, run), xs[run, example].numpy())
        np.testing.assert_allclose(outputs[run, example].detach().numpy(), expected, atol=1e-9)
    slots = torch.stack([state.write_weights.argmax(-1) for state in states], -1)
    assert (slots[..., :NUM_SLOTS] == torch.arange(NUM_SLOTS)).all()
    assert not (slots[..., NUM_SLOTS:] == torch.arange(13 - NUM_SLOTS) % NUM_SLOTS).all()


def test_nothing_is_read_where_nothing_was_written() -> None:
    for name in ("attention_circular", "attention_first_free"):
        cell = drawn(name)
        for written, state in enumerate(unroll(cell, inputs(time=4))[1], 1):
            assert not state.read_weights[..., written:].any()
            torch.testing.assert_close(state.read_weights.sum(-1), torch.ones(2, 3, HEADS))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_read_heads": 3}, "num_read_heads: 3 does not divide slot_dim 4; allowed: a divisor of it"),
        ({"num_slots": 0}, "num_slots: 0 is too small"),
    ],
)
def test_bad_sizes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        AttentionMemory(**({"runs": 1, "d_in": D_IN, "num_slots": 2, "slot_dim": 4} | changes))
