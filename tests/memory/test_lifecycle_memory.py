"""Lifecycle memory as a cell against its equations, slot by slot; what its controller learns from the task loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.lifecycle_memory import AGE_UNIT, BUDGET, LifecycleMemory
from tests.memory.cells import D_IN, HEADS, NUM_SLOTS, SLOT_DIM, drawn, inputs, numpy_parameters, unroll


@dataclass
class Slot:
    """What a slot holds, and how long it has been free."""

    vector: np.ndarray = field(default_factory=lambda: np.zeros(SLOT_DIM))
    alive: bool = False
    age: int = 0
    usage: float = 0.0
    placed: int = -1
    """Step in which a vector was last put into the slot, also one that was not written."""


class Naive:
    """One example of one run, in loops over slots."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters
        self.slots = [Slot() for _ in range(NUM_SLOTS)]
        self.counts = {"updated": 0, "forgotten": 0, "written": 0, "replaced": 0}

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.parameters[f"{name}.weight"] + self.parameters[f"{name}.bias"]

    def actions(self, slot: Slot, context: np.ndarray) -> np.ndarray:
        """Probabilities of retain, update and forget; the offsets of this test's cell are zero."""
        seen = np.array([*slot.vector, slot.age / AGE_UNIT, slot.usage])
        first = np.maximum(self.linear("controller.of_slot", seen) + self.linear("controller.of_context", context), 0)
        logits = self.linear("controller.action", np.maximum(self.linear("controller.hidden", first), 0))
        logits[2] += slot.age / AGE_UNIT
        return np.exp(logits) / np.exp(logits).sum()

    def step(self, x: np.ndarray, now: int) -> np.ndarray:
        context, *queries = self.linear("project", x).reshape(HEADS + 1, SLOT_DIM)
        actions = [self.actions(slot, context) for slot in self.slots]
        hidden = np.maximum(self.linear("controller.write_hidden", context), 0)
        score = 1 / (1 + np.exp(-self.linear("controller.write_logit", hidden)[0]))
        updates, forgets, writes = self.allocated(actions, score)
        self.change(context, actions, updates, forgets, writes, now)
        return np.concatenate(self.read(queries))

    def allocated(self, actions: list[np.ndarray], score: float) -> tuple[set[int], set[int], bool]:
        """Slots to update, slots to forget, and whether to write: what the budget allows, the most useful first."""
        wanted = [(actions[i].max(), i) for i, slot in enumerate(self.slots) if slot.alive and actions[i].argmax() > 0]
        wanted += [(score, NUM_SLOTS)] if score > 0.5 else []
        wanted.sort(key=lambda entry: -entry[0])
        full = all(slot.alive for slot in self.slots)
        writes = NUM_SLOTS in [i for _, i in wanted[:BUDGET]]
        left = BUDGET - writes * (2 if full else 1)
        chosen = [i for _, i in wanted if i < NUM_SLOTS][:left]
        kinds = {kind: {i for i in chosen if actions[i].argmax() == kind} for kind in (1, 2)}
        return kinds[1], kinds[2], writes

    def change(
        self,
        context: np.ndarray,
        actions: list[np.ndarray],
        updates: set[int],
        forgets: set[int],
        writes: bool,
        now: int,
    ) -> None:
        """Update, forget, write; a vector that is not written lies in a free slot, where no read sees it."""
        for i, slot in enumerate(self.slots):
            slot.age += 1
            if i in updates:
                move = self.linear("update_gate.of_slot", slot.vector) + self.linear("update_gate.of_context", context)
                slot.vector = slot.vector + (context - slot.vector) / (1 + np.exp(-move))
            if i in forgets:
                slot.alive = False
        free = [slot for slot in self.slots if not slot.alive]
        most_forgettable = max(range(NUM_SLOTS), key=lambda i: actions[i][2])
        if free:
            target = min(free, key=lambda slot: slot.placed)
            target.vector, target.placed = context, now
        else:
            target = self.slots[most_forgettable]
        self.counts["replaced"] += writes and not free
        if writes:
            target.vector, target.placed, target.alive = context, now, True
            target.age, target.usage = 0, 0.0
        elif not free:
            target.placed = now
        for slot in free:
            if not slot.alive:
                slot.age, slot.usage = 0, 0.0
        self.counts["updated"] += len(updates)
        self.counts["forgotten"] += len(forgets)
        self.counts["written"] += writes

    def read(self, queries: list[np.ndarray]) -> list[np.ndarray]:
        """What each head reads; usage follows the mean of the heads."""
        reads, used = [], np.zeros(NUM_SLOTS)
        for query in queries:
            strength = np.zeros(NUM_SLOTS)
            for i, slot in enumerate(self.slots):
                alike = self.linear("reader.query", query) @ self.linear("reader.key", slot.vector)
                score = alike / np.sqrt(SLOT_DIM) + self.parameters["reader.offset"][0]
                score -= self.parameters["reader.forgetting"][0] * slot.age / AGE_UNIT
                strength[i] = slot.alive * np.exp(score)
            weights = strength / (1 + strength.sum())
            values = [self.linear("reader.value", slot.vector) for slot in self.slots]
            reads.append(weights @ np.array(values))
            used += weights / len(queries)
        for slot, weight in zip(self.slots, used, strict=True):
            slot.usage = 0.95 * slot.usage + 0.05 * weight
        return reads


def test_every_step_is_that_of_the_equations() -> None:
    cell = drawn("lifecycle", dtype=torch.float64)
    with torch.no_grad():  # so that everything happens: writes and none, updates, forgets, replacements
        cell.controller.write_logit.bias.zero_()
        cell.controller.write_logit.weight.mul_(3)
        cell.controller.action.weight.mul_(3)
        cell.controller.action.bias.zero_()
    xs = inputs(time=24, scale=3.0, dtype=torch.float64)
    outputs, states = unroll(cell, xs)
    memory, counts = states[-1].memory, dict.fromkeys(("updated", "forgotten", "written", "replaced"), 0)
    for run, example in np.ndindex(2, 3):
        naive = Naive(numpy_parameters(cell, run))
        expected = [naive.step(x, now) for now, x in enumerate(xs[run, example].numpy())]
        np.testing.assert_allclose(outputs[run, example].detach().numpy(), expected, atol=1e-9)
        for name, values in (
            ("alive", [slot.alive for slot in naive.slots]),
            ("age", [slot.age for slot in naive.slots]),
            ("usage", [slot.usage for slot in naive.slots]),
            ("slots", [slot.vector for slot in naive.slots]),
        ):
            found = getattr(memory, name)[run, example].detach().numpy()
            np.testing.assert_allclose(found, np.array(values, dtype=float), atol=1e-9, err_msg=name)
        counts = {kind: counts[kind] + naive.counts[kind] for kind in counts}
    assert all(counts.values()), counts
    assert counts["written"] < 2 * 3 * 24, "every step wrote"


@pytest.mark.parametrize("updates", [True, False])
def test_the_task_loss_alone_reaches_controller_and_gates(updates: bool) -> None:
    """The update gate only where updates are executed, which a new network with the default offsets does not do."""
    cell = drawn("lifecycle") if updates else LifecycleMemory(2, D_IN, NUM_SLOTS, SLOT_DIM, HEADS)
    reset_parameters(cell, [torch.Generator().manual_seed(seed) for seed in range(2)])
    unroll(cell, inputs(time=12))[0].square().sum().backward()
    for name, parameter in cell.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        expected = updates or not name.startswith("update_gate.")
        assert parameter.grad.flatten(1).any(1).tolist() == [expected] * 2, name


def test_a_controller_that_writes_nothing_learns_what_writing_is_worth() -> None:
    cell = drawn("lifecycle")
    with torch.no_grad():
        cell.controller.write_logit.bias.fill_(-5.0)
    outputs, _ = unroll(cell, inputs())
    assert not outputs.any()
    (outputs - 1).square().sum().backward()
    for name in ("write_hidden", "write_logit"):
        assert all(part.grad.flatten(1).any(1).all() for part in getattr(cell.controller, name).parameters()), name


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ParameterError, match="num_read_heads: 0 is too small"):
        LifecycleMemory(1, D_IN, 2, 2, 0)
