"""Repeated reads: a naive reference, what the reads see, bad sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.repeated_reads import EncodedReads, RepeatedReads


def build(slots: int = 3, heads: int = 2, reads: int = 3) -> RepeatedReads:
    """A small memory in double precision."""
    memory = RepeatedReads(1, 5, slots, 4, heads, num_reads=reads)
    reset_parameters(memory, [torch.Generator().manual_seed(0)])
    return memory.double()


def naive(memory: RepeatedReads, xs: np.ndarray) -> np.ndarray:
    """Output after the last of some steps, (5,) each, from the last N of them."""

    def mapped(name: str, x: np.ndarray) -> np.ndarray:
        part = getattr(memory, name)
        return x @ part.weight[0].detach().numpy() + part.bias[0].detach().numpy()

    written = mapped("project", xs[-memory.num_slots :])[:, 4:]
    keys, values = written[:, :4], written[:, 4:]
    z, size = mapped("project", xs[-1])[:4], 4 // memory.num_read_heads
    start = z
    for _ in range(memory.num_reads):
        query, read = mapped("query", z), np.empty(4)
        for head in range(memory.num_read_heads):
            own = slice(head * size, (head + 1) * size)
            scores = np.exp(keys[:, own] @ query[own] / np.sqrt(size))
            read[own] = scores @ values[:, own] / scores.sum()
        z = z + read
    return z - start


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("reads", [1, 3])
def test_outputs_are_those_of_a_naive_reference_over_the_last_slots(heads: int, reads: int) -> None:
    memory = build(heads=heads, reads=reads)
    xs = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    state = memory.initial_state(1)
    for step in range(7):
        y, state = memory.step(xs[None, step : step + 1], state)
        np.testing.assert_allclose(y[0, 0].detach().numpy(), naive(memory, xs[: step + 1].numpy()))
        assert state.read_weights.shape == (1, 1, heads * reads, 3)
        torch.testing.assert_close(state.read_weights.sum(-1), torch.ones(1, 1, heads * reads, dtype=torch.float64))


def test_all_steps_are_written_before_they_are_read_and_then_read_with_the_same_weights() -> None:
    """With one slot every read returns its value, whatever the query: K times what was written last."""
    memory, x = build(slots=1), torch.ones(1, 2, 5, dtype=torch.float64)
    y, state = memory.step(x, memory.step(-x, memory.initial_state(2))[1])
    torch.testing.assert_close(y, 3 * memory.write(x)[..., 4:])
    assert state.steps.tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("sizes", "line"),
    [
        ({"num_reads": 0}, "num_reads: 0 is too small; allowed: 1 or more"),
        ({"num_read_heads": 3}, "num_read_heads: 3 does not divide slot_dim 4; allowed: a divisor of it"),
    ],
)
def test_bad_sizes_are_refused_in_one_line(sizes: dict[str, int], line: str) -> None:
    with pytest.raises(ParameterError, match=f"^{line}$"):
        RepeatedReads(1, 5, 3, 4, **sizes)


def test_an_encoder_needs_units() -> None:
    with pytest.raises(ParameterError, match="^d_hidden: 0 is too small; allowed: 1 or more$"):
        EncodedReads(1, 5, 0, 3, 4)
