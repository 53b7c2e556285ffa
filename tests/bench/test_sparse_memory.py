"""Sparse memory: what is timed is a full memory whose every read finds something, and the exponent is of all sizes."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
import torch

from bench import sparse_memory
from palimpsest.foundation.errors import ParameterError
from palimpsest.memory import recency
from palimpsest.runtime import machine


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    sparse_memory.add_options(parser)
    return argparse.Namespace(device="cpu", **vars(parser.parse_args(words)))


def test_every_slot_holds_something_can_be_found_and_was_used() -> None:
    cell, state = sparse_memory.filled(600, batch=2)
    slots = cell.slots(state)
    assert slots.norm(dim=-1).min() > 0.1
    assert len(slots[0, 0].unique(dim=0)) == 600
    used = recency.last_used(state.memory, torch.arange(600).expand(1, 2, -1))
    assert used.equal(600 + torch.arange(600).expand(1, 2, -1))
    indexed = state.memory.whole("bucket")[0, 0, :-1]
    assert len(indexed[indexed >= 0].unique()) > 0.99 * 600


def test_a_sequence_begins_with_the_full_memory_and_reaches_every_parameter() -> None:
    cell, state = sparse_memory.filled(300, batch=1)
    before = cell.slots(state)
    sparse_memory._sequence(cell, state, torch.randn(sparse_memory.STEPS, 1, 1, sparse_memory.D_IN), backward=True)()
    gradient = cell.project.weight.grad
    assert gradient is not None
    assert gradient.abs().sum(1).gt(0).float().mean() > 0.9
    assert cell.slots(state).equal(before)
    _, after = cell.step(torch.randn(1, 1, sparse_memory.D_IN), state)
    assert after.read_values.sum(-1).allclose(torch.ones(()))
    assert not cell.slots(after).equal(before)


def test_a_row_for_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def interleaved(functions: Any, *rest: Any, **_: Any) -> dict[Any, float]:
        for function in functions.values():
            function()
        return {(kind, slots): (1 + (kind == "step")) * slots**0.25 for kind, slots in functions}

    monkeypatch.setattr(sparse_memory, "interleaved", interleaved)
    monkeypatch.setattr(machine, "prepare", lambda device: None)
    rows = sparse_memory.measure(options("--slots", "16", "81"))
    assert [tuple(row) for row in rows] == [sparse_memory.COLUMNS] * 2
    assert [row["num_slots"] for row in rows] == [16, 81]
    assert [row["forward_ms"] for row in rows] == pytest.approx([100.0, 150.0])
    assert [row["step_ms"] for row in rows] == pytest.approx([200.0, 300.0])
    assert [row[f"exponent_{kind}"] for row in rows for kind in ("forward", "step")] == pytest.approx([0.25] * 4)


@pytest.mark.parametrize(
    "words", [["--slots", "3", "10"], ["--slots", "10"], ["--slots", "10", "10"], ["--batch", "0"], ["--repeats", "0"]]
)
def test_options_out_of_range_are_refused_in_one_line(words: list[str]) -> None:
    with pytest.raises(ParameterError, match=r"^--slots \[.*; allowed: two numbers of slots or more[^\n]*$"):
        sparse_memory.measure(options(*words))
