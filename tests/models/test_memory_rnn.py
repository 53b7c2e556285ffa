"""An LSTM with any memory over tokens: chunks, packs, gradients, controls, trace, bad parameters, memory by memory.

With least recently used slots it is Santoro's network, held to a naive account in plain loops from tokens to logits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from palimpsest import models
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.named import names
from palimpsest.memory.stepwise_trace import look
from palimpsest.models import Batch, memory_rnn
from palimpsest.planning.provenance import closure
from palimpsest.tasks import copy

EVERY = pytest.mark.parametrize("memory", names())
TASK = copy.Config(bits=3, max_length=4, test_lengths=(4,), num_train=12)
INPUTS = TASK.build(0).train.inputs


def build(memory: str, runs: int = 2, **sizes: Any) -> memory_rnn.Model:
    """A small model for :data:`TASK`."""
    content = {**TASK.interface(), "memory": memory, "hidden": 5, "num_slots": 6, "slot_dim": 4, **sizes}
    model = memory_rnn.Model(memory_rnn.Config.model_validate(content), runs)
    reset_parameters(model, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    return model


def batch(runs: int = 2, first: int = 0, last: int | None = None) -> Batch:
    """Some steps of three sequences, the same for every run."""
    return Batch(INPUTS[:3, first:last].expand(runs, -1, -1), torch.arange(runs), {})


@EVERY
@pytest.mark.parametrize("cut", [1, 5])
def test_a_whole_sequence_equals_its_chunks_with_the_state_carried(memory: str, cut: int) -> None:
    model = build(memory)
    first = model(batch(last=cut), {})
    second = model(batch(first=cut), {}, first.state)
    whole = model(batch(), {})
    assert whole.logits.shape == (2, 3, 9, 3)
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 2), whole.logits)


@EVERY
def test_a_run_alone_has_the_bits_that_it_has_in_a_pack(memory: str) -> None:
    pack, alone = build(memory, 3), build(memory, 1)
    with torch.no_grad():
        for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
            mine.copy_(theirs[1:2])
    together, single = pack(batch(3), {}), alone(batch(1), {})
    together.logits.square().sum().backward()
    single.logits.square().sum().backward()
    assert torch.equal(together.logits[1], single.logits[0])
    for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert torch.equal(mine.grad[0], theirs.grad[1])


UNUSED_AT_FIRST = ("cell.memory.update_gate.",)
"""Parameters of operations that a new network does not execute; tests of the memory itself reach them."""


@EVERY
def test_a_loss_reaches_every_parameter_of_every_run(memory: str) -> None:
    model = build(memory)
    model(batch(), {}).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.flatten(1).any(1).all() or name.startswith(UNUSED_AT_FIRST), name


@EVERY
def test_the_read_is_heard_and_swapped_memories_are_noticed(memory: str) -> None:
    model = build(memory).double()
    on, off, shuffled, random = (
        output.logits
        for output in model.under_controls(
            batch(), {}, {"on": None, "off": None, "shuffled": None, "random_writes": None}
        )
    )
    assert not torch.allclose(on, off)
    assert not torch.allclose(on, shuffled)
    assert torch.equal(on, random)


@EVERY
def test_the_trace_has_what_the_memory_has(memory: str) -> None:
    model = build(memory).eval()
    trace = model(batch()._replace(watch=look), {}).trace.present()
    assert model(batch(), {}).trace.present() == {}
    state = model.cell.initial_state(3)
    for field, name in (
        ("read_weighting", "read_weights"),
        ("write_weighting", "write_weights"),
        ("usage_steps", "usage"),
    ):
        part: Tensor | None = getattr(state.memory, name, None)
        assert (field in trace) == (part is not None), field
        if part is not None:
            assert trace[field].shape == (2, 3, 9, *part.shape[2:])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"memory": "none"}, "memory"),
        ({"hidden": 0}, "hidden"),
        ({"num_slots": 0}, "num_slots"),
        ({"slot_dim": 0}, "slot_dim"),
        ({"num_read_heads": 0}, "num_read_heads"),
        ({"memory": "cell", "num_read_heads": 2}, "num_read_heads: 2; allowed of memory 'cell': 1"),
        ({"memory": "attention", "num_read_heads": 3}, "num_read_heads: 3 does not divide slot_dim 16"),
        ({"memory": "least_recently_used", "num_read_heads": 17}, "num_read_heads: 17 is out of range"),
        ({"mem_lamda": 0.1}, "unknown key; allowed: .*memory"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(content: dict[str, object], problem: str) -> None:
    with pytest.raises(ParameterError, match=problem) as caught:
        checked(memory_rnn.Config, content, "file")
    assert "\n" not in str(caught.value)


def test_runs_depend_on_the_code_of_their_own_memory_alone() -> None:
    (module,) = models.chosen_modules("memory_rnn", {"memory": "hierarchical"})
    assert module == "palimpsest.memory.hierarchical"
    found = closure("palimpsest.models.memory_rnn", module)
    assert "palimpsest.memory.hierarchical" in found
    assert not {"palimpsest.memory.gated", "palimpsest.memory.adaptive"} & set(found)
    assert models.chosen_modules("lstm", {}) == ()


HIDDEN, SLOTS, DIM, HEADS = 5, 6, 4, 2


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


@pytest.mark.parametrize("decay", [0.0, 0.95, 0.99])
def test_with_least_recently_used_slots_outputs_follow_the_equations_of_santoro(decay: float) -> None:
    model = build("least_recently_used", num_read_heads=HEADS).double()
    assert model.cell.memory.decay == 0.99
    model.cell.memory.decay = decay
    given = batch()
    found = model(given, {}).logits.detach().numpy()
    features = model.input(given.inputs).double().numpy()
    for run in range(2):
        parameters = {name: value[run].detach().numpy() for name, value in model.named_parameters()}
        for example in range(3):
            expected = naive(parameters, features[run, example], decay)
            np.testing.assert_allclose(found[run, example], np.array(expected), rtol=1e-8, atol=1e-10)
