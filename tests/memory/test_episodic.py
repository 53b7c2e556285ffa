"""Episodic memory against a list that is appended to and cut, and its properties."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.memory import episodic


def naive_fifo(vectors: np.ndarray, written: np.ndarray, capacity: int) -> list[tuple[int, np.ndarray]]:
    """The latest ``capacity`` written vectors with their times, oldest first."""
    return [(t, vectors[t]) for t in range(len(vectors)) if written[t]][-capacity:]


@st.composite
def histories(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, int]:
    """(R, B, T, D) vectors, (R, B, T) decisions, a capacity."""
    runs, batch, time = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 12))
    bits = draw(st.lists(st.booleans(), min_size=runs * batch * time, max_size=runs * batch * time))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    vectors = torch.randn(runs, batch, time, 3, generator=generator)
    return vectors, torch.tensor(bits).view(runs, batch, time).float(), draw(st.integers(1, 14))


@given(histories())
def test_holds_the_latest_written_vectors_as_a_list_would(history: tuple[torch.Tensor, torch.Tensor, int]) -> None:
    vectors, written, capacity = history
    runs, batch, _, dim = vectors.shape
    state = episodic.append(episodic.initial_state(runs, batch, capacity, dim), vectors, written)
    for r in range(runs):
        for b in range(batch):
            expected = naive_fifo(vectors[r, b].numpy(), written[r, b].numpy(), capacity)
            held = sorted(
                (int(state.time[r, b, n]), state.slots[r, b, n].numpy().tolist())
                for n in range(capacity)
                if state.weight[r, b, n] == 1
            )
            assert held == [(t, vector.tolist()) for t, vector in expected]


@given(histories(), st.data())
def test_a_sequence_written_at_once_equals_its_chunks(
    history: tuple[torch.Tensor, torch.Tensor, int], data: st.DataObject
) -> None:
    vectors, written, capacity = history
    runs, batch, time, dim = vectors.shape
    cut = data.draw(st.integers(0, time))
    empty = episodic.initial_state(runs, batch, capacity, dim)
    whole = episodic.append(empty, vectors, written)
    part = episodic.append(empty, vectors[:, :, :cut], written[..., :cut])
    chunked = episodic.append(part, vectors[:, :, cut:], written[..., cut:])
    assert all(torch.equal(a, b) for a, b in zip(whole[:3], chunked[:3], strict=True))
    assert whole.steps == chunked.steps


@given(histories())
def test_never_holds_more_than_its_capacity_or_than_was_written(
    history: tuple[torch.Tensor, torch.Tensor, int],
) -> None:
    vectors, written, capacity = history
    runs, batch, _, dim = vectors.shape
    state = episodic.append(episodic.initial_state(runs, batch, capacity, dim), vectors, written)
    assert torch.equal(state.weight.sum(-1), written.sum(-1).clamp_max(capacity))
    assert torch.equal(episodic.written_time(state) >= 0, state.weight > 0.5)


def test_an_unwritten_vector_passes_a_gradient_to_its_gate() -> None:
    gate = torch.tensor([[[0.2, 0.9]]], requires_grad=True)
    weight = (gate > 0.5).float() + gate - gate.detach()
    state = episodic.append(episodic.initial_state(1, 1, 2, 1), torch.ones(1, 1, 2, 1), weight)
    (state.slots.squeeze(-1) * state.weight).sum().backward()
    assert gate.grad is not None
    assert torch.equal(gate.grad, torch.ones_like(gate))
