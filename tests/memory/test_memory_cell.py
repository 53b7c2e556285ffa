"""The memory cell against its equations, slot by slot, and against an LSTM without recurrent weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from palimpsest.foundation.errors import ParameterError
from palimpsest.memory.memory_cell import MemoryCell
from tests.memory.cells import D_IN, NUM_SLOTS, SLOT_DIM, drawn, inputs, numpy_parameters, unroll


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def naive(parameters: dict[str, Any], offset: np.ndarray, xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One example: the outputs of all steps, and the memory at the end."""
    memory, outputs = np.zeros((NUM_SLOTS, SLOT_DIM)), []
    for x in xs:
        projected = x @ parameters["project.weight"] + parameters["project.bias"]
        write, keep, show = sigmoid(projected[: 3 * NUM_SLOTS] + offset).reshape(3, NUM_SLOTS)
        value = np.tanh(projected[3 * NUM_SLOTS :])
        for i in range(NUM_SLOTS):
            memory[i] = keep[i] * memory[i] + write[i] * value
        outputs.append(sum(show[i] * np.tanh(memory[i]) for i in range(NUM_SLOTS)) / NUM_SLOTS)
    return np.array(outputs), memory


def test_every_step_is_that_of_the_equations() -> None:
    cell = drawn("memory_cell", dtype=torch.float64)
    xs = inputs(dtype=torch.float64)
    outputs, states = unroll(cell, xs)
    times = 100.0 ** np.linspace(0, 1, NUM_SLOTS)
    offset = np.concatenate([-np.log(times), np.log(times), np.zeros(NUM_SLOTS)])
    np.testing.assert_allclose(cell.offset.numpy(), offset, atol=1e-6)
    for run, example in np.ndindex(2, 3):
        expected, memory = naive(numpy_parameters(cell, run), cell.offset.numpy(), xs[run, example].numpy())
        np.testing.assert_allclose(outputs[run, example].detach().numpy(), expected, atol=1e-12)
        np.testing.assert_allclose(states[-1].slots[run, example].detach().numpy(), memory, atol=1e-12)


def test_one_slot_of_one_feature_is_an_lstm_without_recurrent_weights() -> None:
    cell = MemoryCell(1, D_IN, 1, 1)
    lstm = torch.nn.LSTMCell(D_IN, 1)
    with torch.no_grad():
        lstm.weight_hh.zero_()
        lstm.bias_hh.zero_()
        order = [0, 1, 3, 2]  # PyTorch has i, f, g, o
        cell.project.weight.copy_(lstm.weight_ih[order].T[None])
        cell.project.bias.copy_(lstm.bias_ih[order][None])
    xs = inputs(runs=1, batch=2)
    outputs, _ = unroll(cell, xs)
    h = c = torch.zeros(2, 1)
    for t in range(xs.shape[2]):
        h, c = lstm(xs[0, :, t], (h, c))
        torch.testing.assert_close(outputs[0, :, t], h)


def test_slots_forget_at_rates_of_their_own() -> None:
    cell = MemoryCell(1, D_IN, 3, 2, horizon=100.0)
    for parameter in cell.parameters():
        torch.nn.init.zeros_(parameter)
    state = cell.initial_state(1)._replace(slots=torch.ones(1, 1, 3, 2))
    _, after = cell.step(torch.zeros(1, 1, D_IN), state)
    torch.testing.assert_close(after.slots[0, 0, :, 0], torch.tensor([1 / 2, 10 / 11, 100 / 101]))


@pytest.mark.parametrize(
    ("sizes", "horizon", "message"),
    [
        ((0, 3, 2, 2), 10.0, "runs: 0 is too small"),
        ((1, 0, 2, 2), 10.0, "d_in: 0 is too small"),
        ((1, 3, 0, 2), 10.0, "num_slots: 0 is too small"),
        ((1, 3, 2, 0), 10.0, "slot_dim: 0 is too small"),
        ((1, 3, 2, 2), 0.5, "horizon: 0.5 is out of range"),
    ],
)
def test_bad_sizes_are_named(sizes: tuple[int, int, int, int], horizon: float, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        MemoryCell(*sizes, horizon=horizon)
