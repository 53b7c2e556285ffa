"""Selective memory as a cell against its equations, vector by vector; what its gate learns from the task loss alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from palimpsest.foundation.errors import ParameterError
from palimpsest.memory.selective_memory import SelectiveMemory
from tests.memory.cells import D_IN, HEADS, NUM_SLOTS, SLOT_DIM, drawn, inputs, numpy_parameters, unroll


def linear(parameters: dict[str, Any], name: str, x: np.ndarray) -> np.ndarray:
    return x @ parameters[f"{name}.weight"] + parameters[f"{name}.bias"]


def naive(parameters: dict[str, Any], xs: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], int]:
    """One example: the outputs of all steps, the vectors in memory at the end, the oldest first, and all writes."""
    queue: list[np.ndarray] = []
    outputs, writes = [], 0
    for x in xs:
        vector, *queries = linear(parameters, "project", x).reshape(HEADS + 1, SLOT_DIM)
        if 1 / (1 + np.exp(-linear(parameters, "gate", x)[0])) > 0.5:
            queue = [*queue, vector][-NUM_SLOTS:]
            writes += 1
        heads = []
        for query in queries:
            read = np.zeros(SLOT_DIM)
            for stored in queue:
                alike = linear(parameters, "reader.query", query) @ linear(parameters, "reader.key", stored)
                gate = 1 / (1 + np.exp(-alike / np.sqrt(SLOT_DIM) - parameters["reader.offset"][0]))
                read += gate * linear(parameters, "reader.value", stored)
            heads.append(read)
        outputs.append(np.concatenate(heads))
    return np.array(outputs), queue, writes


def test_every_step_is_that_of_the_equations() -> None:
    cell = drawn("selective", dtype=torch.float64)
    xs = inputs(time=16, scale=3.0, dtype=torch.float64)
    outputs, states = unroll(cell, xs)
    counts = []
    for run, example in np.ndindex(2, 3):
        expected, queue, writes = naive(numpy_parameters(cell, run), xs[run, example].numpy())
        np.testing.assert_allclose(outputs[run, example].detach().numpy(), expected, atol=1e-9)
        memory = states[-1].memory
        written = memory.weight[run, example] > 0.5
        order = memory.time[run, example][written].argsort()
        found = memory.slots[run, example][written][order].detach().numpy()
        np.testing.assert_allclose(found, np.reshape(queue, (-1, SLOT_DIM)), atol=1e-9)
        counts.append(writes)
    assert max(counts) > NUM_SLOTS, "no memory was full and forgot"
    assert min(counts) < 16, "every vector was written"


@pytest.mark.parametrize("bias", [-3.0, 3.0])
def test_the_task_loss_alone_reaches_the_gate_whether_it_writes_or_not(bias: float) -> None:
    cell = drawn("selective")
    with torch.no_grad():
        cell.gate.bias.fill_(bias)
        cell.gate.weight.mul_(0.1)
    outputs, states = unroll(cell, inputs(time=4))
    assert bool((states[-1].memory.weight > 0.5).any()) == (bias > 0)
    assert bool(outputs.any()) == (bias > 0)
    (outputs - 1).square().sum().backward()
    for parameter in (cell.gate.weight, cell.gate.bias):
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.flatten(1).all()


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ParameterError, match="num_read_heads: 0 is too small"):
        SelectiveMemory(1, D_IN, 2, 2, 0)
