"""Controls of a memory: which memory a read sees, and which reads a network receives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.memory.control import CONTROLS, Control, shuffle_memory, silence_reads


def memories(runs: int, batch: int, *rest: int) -> torch.Tensor:
    """Numbers none of which comes twice."""
    count = torch.Size((runs, batch, *rest)).numel()
    return torch.arange(1.0, count + 1).view(runs, batch, *rest)


@given(st.integers(1, 3), st.integers(1, 5), st.lists(st.integers(1, 3), max_size=3))
def test_shuffled_shows_every_example_its_neighbours_memory_within_its_run(
    runs: int, batch: int, rest: list[int]
) -> None:
    slots = memories(runs, batch, *rest)
    found = shuffle_memory(slots, "shuffled")
    for run in range(runs):
        for example in range(batch):
            assert torch.equal(found[run, example], slots[run, (example - 1) % batch])


@pytest.mark.parametrize("control", ["on", "off", "random_writes"])
def test_other_controls_show_every_example_its_own_memory(control: Control) -> None:
    slots = memories(2, 3, 4, 5)
    assert torch.equal(shuffle_memory(slots, control), slots)


@pytest.mark.parametrize("control", CONTROLS)
def test_only_off_silences_what_is_read(control: Control) -> None:
    reads = memories(2, 3, 1, 4)
    expected = torch.zeros_like(reads) if control == "off" else reads
    assert torch.equal(silence_reads(reads, control), expected)


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_do_not_change_their_arguments(control: Control) -> None:
    given_slots = memories(2, 3, 4)
    before = given_slots.clone()
    silence_reads(shuffle_memory(given_slots, control), control)
    assert torch.equal(given_slots, before)


def test_a_silenced_memory_gets_no_gradient_though_it_holds_nonsense() -> None:
    reads = torch.tensor([[[1.0, torch.inf, torch.nan]]], requires_grad=True)
    outputs = silence_reads(reads, "off")
    assert outputs.tolist() == [[[0, 0, 0]]]
    assert not outputs.requires_grad


def test_a_swapped_memory_gets_the_gradient_of_its_reader() -> None:
    slots = memories(1, 3, 1).requires_grad_()
    (shuffle_memory(slots, "shuffled") * torch.tensor([[[1.0], [10.0], [100.0]]])).sum().backward()
    assert slots.grad is not None
    assert slots.grad.flatten().tolist() == [10, 100, 1]


def test_every_control_has_its_name_once() -> None:
    assert CONTROLS == ("on", "off", "shuffled", "random_writes")
