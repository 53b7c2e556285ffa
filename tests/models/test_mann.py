"""Santoro's network, held to a naive account in plain loops from tokens to logits; its sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.models import Batch, mann, memory_rnn
from palimpsest.tasks import copy

TASK = copy.Config(bits=3, max_length=4, test_lengths=(4,), num_train=12)
INPUTS = TASK.build(0).train.inputs[:3]
HIDDEN, SLOTS, DIM, HEADS = 5, 6, 4, 2
SIZES = {"hidden": HIDDEN, "num_slots": SLOTS, "slot_dim": DIM, "num_read_heads": HEADS}


def build(runs: int = 2, **changes: Any) -> mann.Model:
    """A small model for :data:`TASK`."""
    model = mann.Model(mann.Config.model_validate({**TASK.interface(), **SIZES, **changes}), runs)
    reset_parameters(model, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    return model


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def naive(parameters: dict[str, Any], features: Any, decay: float) -> list[Any]:
    """Logits of one sequence, in the order of the paper's equations."""
    hidden = kept = np.zeros(HIDDEN)
    memory, usage = np.zeros((SLOTS, DIM)), np.zeros(SLOTS)
    read_weights, reads = np.zeros((HEADS, SLOTS)), np.zeros(HEADS * DIM)
    logits = []
    for x in features:
        gates = np.concatenate([x, reads]) @ parameters["cell.controller.of_input.weight"]
        gates = gates + parameters["cell.controller.of_input.bias"] + hidden @ parameters["cell.controller.recurrent"]
        i, f, o, g = np.split(gates, 4)
        kept = sigmoid(f) * kept + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(kept)
        interface = hidden @ parameters["cell.memory.project.weight"] + parameters["cell.memory.project.bias"]
        keys = interface[: HEADS * DIM].reshape(HEADS, DIM)
        gate, strength = interface[HEADS * DIM : -HEADS], interface[-HEADS:]
        least = sorted(range(SLOTS), key=lambda slot: usage[slot])[:HEADS]  # sorted keeps the order of equals
        for slot in least:
            memory[slot] = 0  # "the least used memory location is set to zero"
        write_weights = np.zeros((HEADS, SLOTS))
        for head in range(HEADS):
            alpha = sigmoid(gate[head])
            for slot in range(SLOTS):
                write_weights[head, slot] = alpha * read_weights[head, slot] + (1 - alpha) * (slot == least[head])
        for head in range(HEADS):
            for slot in range(SLOTS):
                memory[slot] = memory[slot] + write_weights[head, slot] * keys[head]
        for head in range(HEADS):
            beta = 1 + math.log1p(math.exp(strength[head]))
            scores = []
            for slot in range(SLOTS):
                norms = max(np.linalg.norm(keys[head]), 1e-3) * max(np.linalg.norm(memory[slot]), 1e-3)
                scores.append(math.exp(beta * float(keys[head] @ memory[slot]) / norms))
            read_weights[head] = np.array(scores) / sum(scores)
        reads = (read_weights @ memory).reshape(-1)
        usage = decay * usage + (1 - decay) / (2 * HEADS) * (read_weights + write_weights).sum(0)
        logits.append(np.concatenate([hidden, reads]) @ parameters["head.weight"] + parameters["head.bias"])
    return logits


@pytest.mark.parametrize("decay", [0.0, 0.95])
def test_outputs_follow_the_papers_equations(decay: float) -> None:
    model = build(decay=decay).double()
    batch = Batch(INPUTS.expand(2, -1, -1), torch.arange(2), {})
    found = model(batch, {}).logits.detach().numpy()
    features = model.input(batch.inputs).double().numpy()
    for run in range(2):
        parameters = {name: value[run].detach().numpy() for name, value in model.named_parameters()}
        for example in range(3):
            expected = naive(parameters, features[run, example], decay)
            np.testing.assert_allclose(found[run, example], np.array(expected), rtol=1e-8, atol=1e-10)


def test_it_is_the_recurrent_model_with_that_memory() -> None:
    own = build()
    other = memory_rnn.Model(
        memory_rnn.Config.model_validate({**TASK.interface(), **SIZES, "memory": "least_recently_used"}), 2
    )
    other.load_state_dict(own.state_dict())
    batch = Batch(INPUTS.expand(2, -1, -1), torch.arange(2), {})
    assert torch.equal(own(batch, {}).logits, other(batch, {}).logits)


def test_sizes_by_default_are_the_papers() -> None:
    config = mann.Config.model_validate({})
    assert (config.hidden, config.num_slots, config.slot_dim, config.num_read_heads) == (200, 128, 40, 4)
    assert config.decay == 0.99


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"num_read_heads": 129}, "num_read_heads 129 exceeds num_slots 128; allowed: up to it"),
        ({"hidden": 0}, "hidden"),
        ({"num_slots": 0}, "num_slots"),
        ({"slot_dim": 0}, "slot_dim"),
        ({"decay": 1.0}, "decay"),
        ({"decay": -0.1}, "decay"),
        ({"heads": 2}, "unknown key; allowed: .*num_read_heads"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(content: dict[str, object], problem: str) -> None:
    with pytest.raises(ParameterError, match=problem) as caught:
        checked(mann.Config, content, "file")
    assert "\n" not in str(caught.value)
