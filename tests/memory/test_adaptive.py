"""Adaptive memory against its equations, slot by slot; retention, novelty and rate do what they are named for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from palimpsest.foundation.errors import ParameterError
from palimpsest.memory.adaptive import AdaptiveMemory
from tests.memory.cells import D_IN, HEADS, NUM_SLOTS, SLOT_DIM, drawn, inputs, numpy_parameters, unroll


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / max(np.linalg.norm(a), 1e-3) / max(np.linalg.norm(b), 1e-3))


def content(memory: np.ndarray, key: np.ndarray, z: float) -> np.ndarray:
    scores = np.exp((1 + np.log1p(np.exp(z))) * np.array([cosine(key, slot) for slot in memory]))
    return scores / scores.sum()


def naive(parameters: dict[str, Any], xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One example: the outputs of all steps, and the memory at the end."""
    memory, outputs = parameters["memory"].copy(), []
    retention = 1 / (1 + np.exp(-parameters["retention"]))
    for x in xs:
        projected = x @ parameters["project.weight"] + parameters["project.bias"]
        keys, value, strengths, rate = np.split(projected, np.cumsum([(HEADS + 1) * SLOT_DIM, SLOT_DIM, HEADS + 1]))
        keys = keys.reshape(HEADS + 1, SLOT_DIM)
        where = content(memory, keys[0], strengths[0])
        novelty = (1 - cosine(value, where @ memory)) / 2
        eta = 1 / (1 + np.exp(-(rate[0] + parameters["novelty"][0] * novelty)))
        for i in range(NUM_SLOTS):
            memory[i] = retention[i] * (1 - eta * where[i]) * memory[i] + eta * where[i] * value
        outputs.append(np.concatenate([content(memory, keys[h], strengths[h]) @ memory for h in (1, 2)]))
    return np.array(outputs), memory


def test_every_step_is_that_of_the_equations() -> None:
    cell = drawn("adaptive", dtype=torch.float64)
    xs = inputs(time=10, dtype=torch.float64)
    outputs, states = unroll(cell, xs)
    for run, example in np.ndindex(2, 3):
        expected, memory = naive(numpy_parameters(cell, run), xs[run, example].numpy())
        np.testing.assert_allclose(outputs[run, example].detach().numpy(), expected, atol=1e-9)
        np.testing.assert_allclose(states[-1].slots[run, example].detach().numpy(), memory, atol=1e-9)


def test_slots_keep_from_one_step_to_the_horizon_at_first() -> None:
    cell = AdaptiveMemory(1, D_IN, 4, 2, horizon=1000.0)
    cell.reset_parameters([torch.Generator()])
    kept = cell.retention.sigmoid()[0]
    torch.testing.assert_close(kept, torch.tensor([1 / 2, 10 / 11, 100 / 101, 1000 / 1001]))


def test_new_content_is_written_faster_than_known_content() -> None:
    cell = AdaptiveMemory(1, 2, 1, 2)
    with torch.no_grad():
        cell.reset_parameters([torch.Generator()])
        cell.novelty.fill_(3)
        cell.project.bias.zero_()
        cell.project.weight.zero_()
        cell.project.weight[0, :, 4:6] = torch.eye(2)  # the value is the input
    state = cell.initial_state(3)._replace(slots=torch.tensor([1.0, 0.0]).expand(1, 3, 1, 2))
    _, after = cell.step(torch.tensor([[[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0]]]), state)
    rates = after.write_weights.flatten()
    torch.testing.assert_close(rates, torch.sigmoid(torch.tensor([0.0, 1.5, 3.0])))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"slot_dim": 0}, "slot_dim: 0 is too small"), ({"horizon": 0.0}, "horizon: 0.0 is out of range")],
)
def test_bad_sizes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        AdaptiveMemory(**({"runs": 1, "d_in": D_IN, "num_slots": 2, "slot_dim": 2} | changes))
